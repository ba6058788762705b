//! Reads an event from JSON with the canonical field names. Fields that the event does not have become attributes,
//! what stands within them by the path to it.

pub(super) mod lex;

use super::{
    build::{Builder, Keep},
    codes,
    fail::{Fail, Name},
    guard::{Mark, Trip, content::Octets},
    path::Path,
    scalar::Scalar,
};
use crate::event::{Field, FieldType, Text};
use lex::{Lexer, Start};
use std::{borrow::Cow, collections::BTreeSet};

/// Reads one object, which must be all there is.
pub(crate) fn read(bytes: &[u8], builder: &mut Builder) -> Result<(), Fail> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return Err(Fail::new(codes::NOT_JSON, "the value is not UTF-8").at(e.valid_up_to())),
    };
    // a byte order mark is no part of the text; the offsets in failures count it
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = bytes.len() - text.len();
    let mut reader = Reader { lexer: Lexer::new(text), builder };
    reader.event().map_err(|fail| fail.moved(mark))
}

struct Reader<'a, 'b, 'd> {
    lexer: Lexer<'a>,
    builder: &'b mut Builder<'d>,
}

/// The names of an object that were met: a name met twice could be read either way.
#[derive(Default)]
pub(super) struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    const FEW: usize = 16;

    /// Remembers a name. Fails if it was met before, and if there are too many to remember.
    pub fn insert(&mut self, name: &str, owned: Cow<'a, str>, at: usize) -> Result<(), Fail> {
        if self.few.iter().any(|few| few == name) || self.many.contains(name) {
            return Err(twice(name, at));
        }
        if self.few.len() < Self::FEW {
            self.few.push(owned);
        } else if self.many.len() < MAX_NAMES {
            self.many.insert(owned);
        } else {
            return Err(Fail::new(codes::JSON_FORM, "an object has more than 10,000 names").at(at));
        }
        Ok(())
    }
}

/// So many names of an object are remembered, to tell that each stands there once.
const MAX_NAMES: usize = 10_000;

impl<'a> Reader<'a, '_, '_> {
    fn event(&mut self) -> Result<(), Fail> {
        if self.lexer.start()? != Start::Object {
            let at = self.lexer.at();
            // what is no JSON at all should be called so
            self.skip()?;
            return Err(Fail::new(codes::JSON_FORM, "the value is no JSON object").at(at));
        }
        let (mut fields, mut others) = (0_u64, Names::default());
        self.members(|reader, name, at| match Field::from_name(&name) {
            Some(field) => {
                let bit = 1 << field as u64;
                if fields & bit != 0 {
                    return Err(twice(&name, at));
                }
                fields |= bit;
                reader.field(field).map_err(|fail| fail.named(Name::Ours(field.name().into())))
            }
            None => {
                others.insert(&name, name.clone(), at)?;
                let mark = reader.builder.rules().mark(&name, &name, Mark::default());
                let keep = reader.builder.unknown();
                reader.value(&mut Path::new(&name), mark, None, keep)
            }
        })?;
        if self.lexer.peek().is_some() {
            return Err(Fail::new(codes::TRAILING_BYTES, "something follows the event").at(self.lexer.at()));
        }
        if self.lexer.lossy {
            self.builder.note("json", "surrogate");
        }
        Ok(())
    }

    /// Reads an object, and calls `each` with every name, its place, and the value next.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>, usize) -> Result<(), Fail>,
    ) -> Result<(), Fail> {
        self.lexer.take(b'{');
        if self.lexer.take(b'}') {
            return Ok(());
        }
        loop {
            if self.lexer.peek() != Some(b'"') {
                return Err(self.lexer.fail("here should be a name in quotes"));
            }
            let at = self.lexer.at();
            let name = self.lexer.string()?;
            if !self.lexer.take(b':') {
                return Err(self.lexer.fail("here should be a colon"));
            }
            each(self, name, at)?;
            if self.lexer.take(b'}') {
                return Ok(());
            }
            if !self.lexer.take(b',') {
                return Err(self.lexer.fail("here should be a comma or the end of the object"));
            }
        }
    }

    /// Reads an array, and calls `each` with every place, and the value next.
    fn items(&mut self, mut each: impl FnMut(&mut Self, usize) -> Result<(), Fail>) -> Result<(), Fail> {
        self.lexer.take(b'[');
        if self.lexer.take(b']') {
            return Ok(());
        }
        for place in 0.. {
            each(self, place)?;
            if self.lexer.take(b']') {
                break;
            }
            if !self.lexer.take(b',') {
                return Err(self.lexer.fail("here should be a comma or the end of the array"));
            }
        }
        Ok(())
    }

    /// A value that holds no others, if one is next.
    fn scalar(&mut self) -> Result<Option<Scalar<'a>>, Fail> {
        Ok(Some(match self.lexer.start()? {
            Start::String => Scalar::Text(self.lexer.string()?),
            Start::Number => Scalar::Number(self.lexer.number()?),
            Start::Word => self.lexer.word()?.map_or(Scalar::Null, Scalar::Bool),
            Start::Object | Start::Array => return Ok(None),
        }))
    }

    /// The value of a field of the event.
    fn field(&mut self, field: Field) -> Result<(), Fail> {
        let start = self.lexer.start()?;
        let at = self.lexer.at();
        let mark = Mark { secret: self.builder.rules().is_secret_field(field), ..Mark::default() };
        if let Some(value) = self.scalar()? {
            let put = mark.judge(&value, None).map_or_else(|| self.builder.put(field, &value), Err);
            return put.map_err(|trip| trip.fail().at(at));
        }
        match (field.field_type(), start) {
            (FieldType::Texts, Start::Array) if !mark.is_set() => self.texts(field),
            (FieldType::Map, Start::Object) if !mark.is_set() => {
                self.object(&mut Path::default(), mark, Keep::Explicit)
            }
            _ => {
                self.value(&mut Path::new(field.name()), mark, None, Keep::Nothing)?;
                if self.builder.rules().keep_event_only {
                    self.builder.reject_parts(field);
                } else {
                    self.builder.reject_field(field, self.lexer.since(at), "invalid");
                }
                Ok(())
            }
        }
    }

    /// An array of strings that is a field.
    fn texts(&mut self, field: Field) -> Result<(), Fail> {
        let mut octets = Octets::default();
        self.items(|reader, place| {
            reader.lexer.peek();
            let at = reader.lexer.at();
            let Some(value) = reader.scalar()? else {
                reader.builder.note(field.name(), "invalid");
                return reader.value(&mut Path::new(field.name()), Mark::default(), Some(place), Keep::Nothing);
            };
            let trip = octets.push(value.to_octet()).map(Trip::Content);
            let put = trip.map_or_else(|| reader.builder.put_item(field, &value), Err);
            put.map_err(|trip| trip.fail().at(at))
        })
    }

    /// A value that is no field of the event.
    fn value(&mut self, path: &mut Path, mark: Mark, place: Option<usize>, keep: Keep) -> Result<(), Fail> {
        let start = self.lexer.start()?;
        let at = self.lexer.at();
        if let Some(value) = self.scalar()? {
            let put = self.builder.put_attribute(path.as_str(), mark, &value, place, keep);
            return put.map_err(|trip| trip.fail().named(path.name()).at(at));
        }
        let too_deep = || Fail::new(codes::JSON_FORM, "the JSON nests deeper than 64").at(at);
        let keep = path.enter(keep, self.builder).ok_or_else(too_deep)?;
        if start == Start::Object {
            self.object(path, mark, keep)?;
        } else {
            self.array(path, mark, keep)?;
        }
        path.leave();
        Ok(())
    }

    fn object(&mut self, path: &mut Path, mark: Mark, keep: Keep) -> Result<(), Fail> {
        let mut names = Names::default();
        self.members(|reader, name, at| {
            names.insert(&name, name.clone(), at)?;
            let outer = path.push(&name);
            let mark = reader.builder.rules().mark(path.as_str(), &name, mark);
            reader.value(path, mark, None, keep)?;
            path.pop(outer);
            Ok(())
        })
    }

    fn array(&mut self, path: &mut Path, mark: Mark, keep: Keep) -> Result<(), Fail> {
        let mut octets = Octets::default();
        self.items(|reader, place| {
            let outer = path.push_place(place, keep);
            if reader.lexer.start()? == Start::Number {
                let at = reader.lexer.at();
                let value = Scalar::Number(reader.lexer.number()?);
                let trip = octets.push(value.to_octet()).map(Trip::Content);
                let put = trip
                    .map_or_else(|| reader.builder.put_attribute(path.as_str(), mark, &value, Some(place), keep), Err);
                put.map_err(|trip| trip.fail().named(path.name()).at(at))?;
            } else {
                octets.push(None);
                reader.value(path, mark, Some(place), keep)?;
            }
            path.pop(outer);
            Ok(())
        })
    }

    /// Passes over a value, to learn whether it is JSON.
    fn skip(&mut self) -> Result<(), Fail> {
        self.value(&mut Path::default(), Mark::default(), None, Keep::Nothing)
    }
}

fn twice(name: &str, at: usize) -> Fail {
    Fail::new(codes::JSON_FORM, "a name stands twice in an object").named(Name::Theirs(Text::from(name))).at(at)
}
