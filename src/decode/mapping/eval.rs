//! Values: from where a mapping says that they come to what the field gets.

use super::{
    doc::{Content, Doc},
    plan::{Candidate, Case, Cells, Get, Piece, Plan, Test, When},
};
use crate::{decode::scalar::Scalar, event::Micros};
use jiff::tz::TimeZone;
use regex::Regex;
use std::borrow::Cow;

/// What a candidate gives.
#[derive(Debug)]
pub(super) enum Got<'v> {
    /// No value: the next candidate is asked.
    Nothing,
    /// A text without characters: the same, but worth telling.
    Empty,
    /// An object or a list where a plain value should be.
    Parts,
    One(Scalar<'v>),
    Many(Vec<Scalar<'v>>),
    Moment(Micros),
    /// A text that no row of the table has.
    Unmapped(String),
    /// A text that is no moment in any of the forms.
    NoMoment(String),
}

/// What candidates are evaluated against.
pub(super) struct Context<'v, 'a> {
    pub plan: &'v Plan,
    pub doc: &'v Doc<'a>,
    pub zone: &'v TimeZone,
    pub record: Option<Micros>,
}

impl<'v> Context<'v, '_> {
    /// The value of a candidate.
    pub fn eval(&self, candidate: &'v Candidate) -> Got<'v> {
        if candidate.when.as_ref().is_some_and(|when| !self.holds(when)) {
            return Got::Nothing;
        }
        let got = match &candidate.get {
            Get::Const(value) => Got::One(value.scalar()),
            Get::RecordTime => self.record.map_or(Got::Nothing, Got::Moment),
            Get::Template(pieces) => self.fill(pieces).map_or(Got::Nothing, |text| Got::One(Scalar::owned(text))),
            Get::Paths(paths) => {
                let (mut found, mut empty, mut parts) = (Vec::new(), false, false);
                let mut single = None;
                for path in paths {
                    self.doc.find(path, &mut |at| match self.doc.nodes.get(at).map(|node| &node.content) {
                        Some(Content::Scalar(Scalar::Null)) | None => {}
                        Some(Content::Scalar(scalar)) if is_among(scalar, &candidate.unless) => {}
                        Some(Content::Scalar(scalar)) if scalar.is_empty() => empty = true,
                        Some(Content::Scalar(scalar)) => match single {
                            None => single = Some(lend(scalar)),
                            Some(_) => found.push(lend(scalar)),
                        },
                        Some(Content::Object | Content::Array) => parts = true,
                    });
                    if single.is_some() || parts {
                        break;
                    }
                }
                match single {
                    Some(first) if found.is_empty() => Got::One(first),
                    Some(first) => {
                        found.insert(0, first);
                        Got::Many(found)
                    }
                    None if parts => Got::Parts,
                    None if empty => Got::Empty,
                    None => Got::Nothing,
                }
            }
        };
        self.edit(candidate, got)
    }

    fn edit(&self, candidate: &'v Candidate, got: Got<'v>) -> Got<'v> {
        let values = match got {
            Got::One(value) => match self.edit_one(candidate, value) {
                Ok(Some(value)) => vec![value],
                Ok(None) => return Got::Nothing,
                Err(got) => return got,
            },
            Got::Many(values) => {
                let mut edited = Vec::with_capacity(values.len());
                for value in values {
                    match self.edit_one(candidate, value) {
                        Ok(value) => edited.extend(value),
                        Err(got) => return got,
                    }
                }
                edited
            }
            other => return other,
        };
        let Some(split) = &candidate.split else {
            let mut values = values;
            return match values.len() {
                0 => Got::Nothing,
                1 => values.pop().map_or(Got::Nothing, Got::One),
                _ => Got::Many(values),
            };
        };
        let mut pieces = Vec::new();
        for value in &values {
            let (text, _) = value.to_text();
            let trimmed = text.split(split.as_str()).map(str::trim).filter(|piece| !piece.is_empty());
            pieces.extend(trimmed.map(|piece| Scalar::owned(piece.to_owned())));
        }
        if pieces.is_empty() { Got::Nothing } else { Got::Many(pieces) }
    }

    /// None is no value; an error is what becomes of the field.
    fn edit_one(&self, candidate: &'v Candidate, value: Scalar<'v>) -> Result<Option<Scalar<'v>>, Got<'v>> {
        let mut value = value;
        if let Some(pattern) = &candidate.pattern {
            match cut_out(pattern, value) {
                Some(cut) => value = cut,
                None => return Ok(None),
            }
        }
        if let Some(case) = candidate.case {
            let (text, _) = value.to_text();
            value = Scalar::owned(match case {
                Case::Lower => text.to_lowercase(),
                Case::Upper => text.to_uppercase(),
            });
        }
        if let Some(table) = candidate.table.and_then(|table| self.plan.tables.get(table)) {
            let (text, _) = value.to_text();
            value = match table.find(&text) {
                // known, and it says nothing
                Some(Cells::One(value)) if value.text().is_empty() => return Ok(None),
                Some(Cells::One(value)) => value.scalar(),
                Some(Cells::Fields(_)) | None => return Err(Got::Unmapped(text.into_owned())),
            };
        }
        if !candidate.times.is_empty() {
            let (text, _) = value.to_text();
            let moment = candidate.times.iter().find_map(|time| time.read(&text, self.zone, self.record));
            return Err(moment.map_or_else(|| Got::NoMoment(text.into_owned()), Got::Moment));
        }
        Ok(Some(value))
    }

    /// Fills a template; none if one of its values is not there.
    fn fill(&self, pieces: &[Piece]) -> Option<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Path(path) => {
                    let scalar = self.doc.scalar(self.doc.first(path)?)?;
                    let (text, _) = scalar.to_text();
                    if text.is_empty() {
                        return None;
                    }
                    out.push_str(&text);
                }
            }
        }
        Some(out)
    }

    /// Whether conditions hold. Groups of patterns are not remembered.
    pub fn holds(&self, when: &When) -> bool {
        let holds = |(path, test): &(_, Test)| {
            let at = self.doc.peek(path);
            self.passes(at.and_then(|at| self.doc.scalar(at)), at.is_some(), test)
        };
        when.0.iter().any(|all| all.iter().all(holds))
    }

    /// Whether a value passes a test. A null is not there.
    pub fn passes(&self, scalar: Option<&Scalar<'_>>, present: bool, test: &Test) -> bool {
        let there = present && !matches!(scalar, Some(Scalar::Null));
        match test {
            Test::Exists(want) => there == *want,
            Test::NoneOf(texts) => scalar.is_none_or(|scalar| !is_among(scalar, texts)),
            Test::OneOf(texts) => there && scalar.is_some_and(|scalar| is_among(scalar, texts)),
            Test::Glob(globs) => {
                let matches = |text: &str| globs.iter().any(|glob| glob.matches(text));
                there && scalar.is_some_and(|scalar| matches(&scalar.to_text().0))
            }
            Test::Unlike(globs) => {
                let matches = |text: &str| globs.iter().any(|glob| glob.matches(text));
                scalar.is_none_or(|scalar| !matches(&scalar.to_text().0))
            }
            Test::Differs(path) => {
                let other = self.doc.peek(path).and_then(|at| self.doc.scalar(at));
                let other = other.filter(|other| !matches!(other, Scalar::Null));
                let pair = scalar.filter(|_| there).zip(other);
                pair.is_some_and(|(one, other)| one.to_text().0 != other.to_text().0)
            }
            Test::Pattern(pattern) => there && scalar.is_some_and(|scalar| pattern.regex.is_match(&scalar.to_text().0)),
        }
    }
}

fn is_among(scalar: &Scalar<'_>, texts: &[String]) -> bool {
    !texts.is_empty() && {
        let (text, _) = scalar.to_text();
        texts.iter().any(|other| *other == text)
    }
}

/// The same value, borrowed.
pub(super) fn lend<'v>(scalar: &'v Scalar<'_>) -> Scalar<'v> {
    match scalar {
        Scalar::Text(text) => Scalar::text(text),
        Scalar::Number(text) => Scalar::Number(text),
        other => other.clone(),
    }
}

/// The first group of a pattern, or all that it matches.
fn cut_out<'v>(pattern: &Regex, value: Scalar<'v>) -> Option<Scalar<'v>> {
    let text: Cow<'v, str> = match value {
        Scalar::Text(text) => text,
        Scalar::Number(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_text().0.into_owned()),
    };
    let range = {
        let captures = pattern.captures(&text)?;
        let group = captures.iter().skip(1).find_map(|group| group);
        group.or_else(|| captures.get(0).filter(|_| captures.len() == 1))?.range()
    };
    if range.is_empty() {
        return None;
    }
    Some(Scalar::Text(cut(&text, range)))
}

/// A piece of a text, borrowed if the text is.
pub(super) fn cut<'a>(text: &Cow<'a, str>, range: std::ops::Range<usize>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(range).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(range).unwrap_or_default().to_owned()),
    }
}
