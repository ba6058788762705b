//! Carries out a mapping on a record: take texts apart, find out what kind of record it is, fill the event in. All
//! values go through the same [`Builder`] as canonical JSON.

use super::{
    doc::{At, Content, Doc},
    eval::{Context, Got, cut},
    path::Path,
    plan::{Candidate, Cells, How, Kind, Lookup, Parse, Pattern, Plan, Sets, Test, When},
};
use crate::{
    decode::{
        build::{Builder, Keep},
        codes,
        fail::{Fail, Name},
        guard::{Mark, Rules, Trip, judge_part},
        path::MAX_FLAT,
    },
    event::{Field, FieldType},
};
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// What a mapping says of a record.
#[derive(Debug)]
pub(in crate::decode) enum Said {
    /// It is an event: the builder has it.
    Event,
    /// It is no authentication event, and the mapping knows it.
    NotAnEvent,
    /// It is of no kind that the mapping knows.
    Unknown(Fail),
}

/// Reads a record that is a JSON object.
pub(in crate::decode) fn read_json(
    plan: &Plan,
    zone: &TimeZone,
    bytes: &[u8],
    builder: &mut Builder,
) -> Result<Said, Fail> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return Err(Fail::new(codes::NOT_JSON, "the value is not UTF-8").at(e.valid_up_to())),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = bytes.len() - text.len();
    let (doc, lossy) = Doc::of_json(text, &plan.names, builder.rules()).map_err(|fail| fail.moved(mark))?;
    if lossy {
        builder.note("json", "surrogate");
    }
    Run { plan, zone, doc, builder }.run()
}

/// Reads a record that is a line of text.
pub(in crate::decode) fn read_line(
    plan: &Plan,
    zone: &TimeZone,
    bytes: &[u8],
    builder: &mut Builder,
) -> Result<Said, Fail> {
    let text = String::from_utf8_lossy(bytes);
    if let Cow::Owned(_) = text {
        // who can put a byte into a line must not be able to hide it so
        builder.note("line", "not_utf8");
    }
    let length = text.trim_end_matches(['\r', '\n']).len();
    let line = cut(&text, 0..length);
    let line = line.strip_prefix('\u{feff}').map(|rest| Cow::Owned(rest.to_owned())).unwrap_or(line);
    if let Some(found) = judge_part(line.as_bytes(), builder.rules()) {
        return Err(found.fail("the line"));
    }
    let doc = Doc::of_line(line, &plan.names);
    Run { plan, zone, doc, builder }.run()
}

struct Run<'p, 'a, 'b, 'd> {
    plan: &'p Plan,
    zone: &'p TimeZone,
    doc: Doc<'a>,
    builder: &'b mut Builder<'d>,
}

impl<'p, 'a> Run<'p, 'a, '_, '_> {
    fn run(mut self) -> Result<Said, Fail> {
        for step in &self.plan.parse {
            self.parse(step)?;
        }
        let kind = if self.plan.kinds.is_empty() {
            None
        } else {
            match self.kind() {
                Some(Kind { ignore: Some(_), .. }) => return Ok(Said::NotAnEvent),
                Some(kind) => Some(kind),
                None => return Ok(Said::Unknown(self.unknown())),
            }
        };
        self.fill(kind)?;
        self.keep()?;
        Ok(Said::Event)
    }

    fn unknown(&self) -> Fail {
        let fail = Fail::new(codes::UNMAPPED, format!("no kind of the mapping {} fits", self.plan.about.name));
        // a line is its own best explanation
        match self.doc.scalar(1).filter(|_| self.doc.nodes.get(1).is_some_and(|node| node.name == "line")) {
            Some(line) => fail.showing(line.to_text().0.into_owned()),
            None => fail,
        }
    }

    /// Takes a text apart.
    fn parse(&mut self, step: &'p Parse) -> Result<(), Fail> {
        if step.when.as_ref().is_some_and(|when| !self.context().holds(when)) {
            return Ok(());
        }
        let text = step.from.iter().find_map(|path| self.doc.text(self.doc.first(path)?));
        let Some(text) = text else { return Ok(()) };
        // shippers leave the end of the line in
        let text = cut(&text, 0..text.trim_end_matches(['\r', '\n']).len());
        if text.is_empty() {
            return Ok(());
        }
        match &step.how {
            How::Patterns(patterns) => {
                let _ = patterns.iter().any(|pattern| self.capture(pattern, &text));
            }
            How::Json { into } => match Doc::of_any_json(&text, &self.plan.names, self.builder.rules()) {
                Ok((doc, _)) => self.doc.own_doc(*into, doc),
                // text that is no JSON stays as it is; what must not be kept is found all the same
                Err(fail) if matches!(fail.code(), codes::BIOMETRIC | codes::SECRET_FIELD) => return Err(fail),
                Err(_) => self.builder.note("json", "invalid"),
            },
            How::Pairs { pairs, into } => {
                let rules: &Rules = self.builder.rules();
                let names = &self.plan.names;
                let (found, unclear) = match &text {
                    Cow::Borrowed(text) => {
                        let found = pairs.read(text);
                        (found.pairs, found.unclear)
                    }
                    Cow::Owned(text) => {
                        let found = pairs.read(text);
                        let own = |(key, value): (Cow<'_, str>, Cow<'_, str>)| {
                            (Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned()))
                        };
                        (found.pairs.into_iter().map(own).collect(), found.unclear)
                    }
                };
                for (key, value) in &found {
                    let mark = rules.mark(key, key, Mark::default());
                    if let Some(trip) = mark.judge(&crate::decode::scalar::Scalar::text(value), None) {
                        return Err(trip.fail().named(Name::Theirs(key.as_ref().into())));
                    }
                }
                if let Some(range) = unclear {
                    self.builder.note("line", "ambiguous");
                    if self.builder.unknown() != Keep::Nothing {
                        let rest = cut(&text, range);
                        self.builder.put_raw("raw.line", &rest);
                    }
                }
                self.doc.own_object(*into, found.into_iter().map(|(key, value)| (names.of(&key), key, value)));
            }
        }
        Ok(())
    }

    /// Remembers the groups of a pattern, if it matches.
    #[allow(clippy::ptr_arg)] // what is cut out of a borrowed text is borrowed from the record, not from here
    fn capture(&mut self, pattern: &Pattern, text: &Cow<'a, str>) -> bool {
        let Some(captures) = pattern.regex.captures(text) else { return false };
        for (place, id, _) in &pattern.groups {
            if let Some(group) = captures.get(*place) {
                self.doc.own_text(*id, cut(text, group.range()));
            }
        }
        true
    }

    fn context(&self) -> Context<'_, 'a> {
        Context { plan: self.plan, doc: &self.doc, zone: self.zone, record: self.builder.record_time() }
    }

    /// The first kind whose conditions hold.
    fn kind(&mut self) -> Option<&'p Kind> {
        self.plan.kinds.iter().find(|kind| kind.when.as_ref().is_none_or(|when| self.holds(when)))
    }

    /// Whether conditions hold; then groups of their patterns are values.
    fn holds(&mut self, when: &'p When) -> bool {
        when.0.iter().any(|all| {
            let before = self.doc.own_len();
            let holds = all.iter().all(|(path, test)| self.passes(path, test));
            if !holds {
                self.doc.forget(before);
            }
            holds
        })
    }

    fn passes(&mut self, path: &'p Path, test: &'p Test) -> bool {
        let at = self.doc.peek(path);
        if let Test::Pattern(pattern) = test
            && !pattern.groups.is_empty()
        {
            let Some(text) = at.and_then(|at| self.doc.text(at)) else { return false };
            return self.capture(pattern, &text);
        }
        self.context().passes(at.and_then(|at| self.doc.scalar(at)), at.is_some(), test)
    }

    /// Fills the event in: what the kind says before what tables say, this before what all kinds have in common.
    fn fill(&mut self, kind: Option<&'p Kind>) -> Result<(), Fail> {
        let context = Context { plan: self.plan, doc: &self.doc, zone: self.zone, record: self.builder.record_time() };
        let mut fill = Fill { context, builder: &mut *self.builder, done: 0 };
        let common = &self.plan.common;
        if let Some(kind) = kind {
            fill.fields(&kind.sets)?;
            fill.lookups(&kind.sets)?;
        }
        fill.lookups(common)?;
        fill.fields(common)?;
        if let Some(kind) = kind {
            fill.attributes(&kind.sets)?;
        }
        fill.attributes(common)
    }

    /// What nothing asked for becomes attributes, if the mapping says so.
    fn keep(&mut self) -> Result<(), Fail> {
        let Some(prefix) = &self.plan.keep else { return Ok(()) };
        let keep = self.builder.unknown();
        if keep == Keep::Nothing {
            return Ok(());
        }
        let roots: Vec<At> = std::iter::once(0).chain(self.doc.own_objects()).collect();
        let mut path = prefix.clone();
        for root in roots {
            self.keep_within(root, &mut path, prefix.len(), 0, keep)?;
        }
        Ok(())
    }

    fn keep_within(&mut self, at: At, path: &mut String, prefix: usize, depth: usize, keep: Keep) -> Result<(), Fail> {
        let children: Vec<At> = self.doc.children(at).collect();
        let in_array = self.doc.nodes.get(at).is_some_and(|node| matches!(node.content, Content::Array));
        for (place, child) in children.into_iter().enumerate() {
            if self.doc.is_used(child) {
                continue;
            }
            let outer = path.len();
            if outer > prefix {
                path.push('.');
            }
            match self.doc.nodes.get(child) {
                Some(_) if in_array => path.push_str(&place.to_string()),
                Some(node) => path.push_str(&node.name),
                None => {}
            }
            let name = self.plan.strip.iter().find_map(|strip| path[prefix..].strip_prefix(strip.as_str()));
            let name =
                name.map_or(Cow::Borrowed(path.as_str()), |rest| Cow::Owned(format!("{}{rest}", &path[..prefix])));
            if !self.plan.except.iter().any(|glob| glob.matches(&name[prefix..])) {
                match self.doc.scalar(child) {
                    Some(scalar) => {
                        let put = self.builder.put_attribute(&name, Mark::default(), scalar, None, keep);
                        put.map_err(|trip| trip.fail())?;
                    }
                    None if depth + 1 >= MAX_FLAT => self.builder.note("attributes", "too_deep"),
                    None => self.keep_within(child, path, prefix, depth + 1, keep)?,
                }
            }
            path.truncate(outer);
        }
        Ok(())
    }
}

struct Fill<'v, 'a, 'b, 'd> {
    context: Context<'v, 'a>,
    builder: &'b mut Builder<'d>,
    /// Fields that have a value, or had one that could not be used: bit by place.
    done: u64,
}

impl<'v> Fill<'v, '_, '_, '_> {
    fn fields(&mut self, sets: &'v Sets) -> Result<(), Fail> {
        for (field, candidates) in &sets.fields {
            if self.done >> (*field as u64) & 1 == 0 {
                self.field(*field, candidates).map_err(|trip| named(trip, *field))?;
            }
        }
        Ok(())
    }

    fn field(&mut self, field: Field, candidates: &'v [Candidate]) -> Result<(), Trip> {
        let mut empty = false;
        for candidate in candidates {
            match self.context.eval(candidate) {
                Got::Nothing => continue,
                Got::Empty => {
                    empty = true;
                    continue;
                }
                got => return self.put(field, got),
            }
        }
        if empty {
            self.builder.note(field.name(), "empty");
        }
        Ok(())
    }

    fn put(&mut self, field: Field, got: Got<'v>) -> Result<(), Trip> {
        if self.builder.rules().is_secret_field(field) {
            return Err(Trip::Secret);
        }
        self.done |= 1 << field as u64;
        match got {
            Got::Nothing | Got::Empty => {}
            Got::One(value) => self.builder.put(field, &value)?,
            Got::Many(values) if field.field_type() == FieldType::Texts => {
                for value in &values {
                    self.builder.put_item(field, value)?;
                }
            }
            Got::Many(values) => self.builder.put_text(field, &join(&values))?,
            Got::Moment(moment) => self.builder.put_moment(field, Some(moment.0)),
            Got::Parts => self.builder.reject_parts(field),
            Got::Unmapped(text) => self.builder.reject_field(field, &text, "unmapped"),
            Got::NoMoment(text) => self.builder.reject_field(field, &text, "invalid"),
        }
        Ok(())
    }

    fn lookups(&mut self, sets: &'v Sets) -> Result<(), Fail> {
        for lookup in &sets.lookups {
            self.lookup(lookup)?;
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &'v Lookup) -> Result<(), Fail> {
        let key = lookup.on.iter().find_map(|candidate| match self.context.eval(candidate) {
            Got::One(value) => Some(value.to_text().0.into_owned()),
            Got::Many(values) => Some(join(&values)),
            Got::Unmapped(text) => Some(text),
            _ => None,
        });
        let Some(key) = key else { return Ok(()) };
        let Some(table) = self.context.plan.tables.get(lookup.table) else { return Ok(()) };
        let Some(Cells::Fields(cells)) = table.find(&key) else {
            let field = lookup.field;
            if self.done >> (field as u64) & 1 == 0 {
                self.put(field, Got::Unmapped(key)).map_err(|trip| named(trip, field))?;
            }
            return Ok(());
        };
        for (field, value) in cells {
            if self.done >> (*field as u64) & 1 == 0 && !value.text().is_empty() {
                self.put(*field, Got::One(value.scalar())).map_err(|trip| named(trip, *field))?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, sets: &'v Sets) -> Result<(), Fail> {
        for (name, candidates) in &sets.attributes {
            if self.builder.event.attributes.get(name).is_some() {
                continue;
            }
            let text = candidates.iter().find_map(|candidate| match self.context.eval(candidate) {
                Got::Nothing | Got::Empty | Got::Parts => None,
                Got::One(value) => Some(value.to_text().0.into_owned()),
                Got::Many(values) => Some(join(&values)),
                Got::Moment(moment) => Some(crate::decode::moment::write(moment)),
                Got::Unmapped(text) | Got::NoMoment(text) => Some(text),
            });
            if let Some(text) = text {
                let put = self.builder.put_entry(name, &text);
                put.map_err(|trip| trip.fail().named(Name::Ours(name.as_str().into())))?;
            }
        }
        Ok(())
    }
}

fn join(values: &[crate::decode::scalar::Scalar<'_>]) -> String {
    let texts: Vec<Cow<'_, str>> = values.iter().map(|value| value.to_text().0).collect();
    texts.join(", ")
}

fn named(trip: Trip, field: Field) -> Fail {
    trip.fail().named(Name::Ours(field.name().into()))
}
