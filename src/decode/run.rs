//! Carries out a plan on the bytes of a record: borrowed reads, no values in between. Hostile bytes end in an error
//! after work in proportion to their number.

use super::{
    build::{Builder, Keep},
    codes,
    fail::{Fail, Name},
    guard::{Mark, content::Octets},
    path::{MAX_DEPTH, Path},
    plan::{How, NO_SYMBOL, Node, Plan, Step},
    scalar::{Scalar, decimal},
};
use crate::{
    avro::Cursor,
    event::{Field, FieldType, Slot},
};

/// Reads the event that begins at `from` and must end with the bytes.
pub(crate) fn run<'a>(plan: &'a Plan, bytes: &'a [u8], from: usize, builder: &mut Builder) -> Result<(), Fail> {
    let mut cursor = Cursor::lenient(bytes);
    cursor.take(from).map_err(|e| Fail::avro(e, 0))?;
    let mut run = Run { plan, cursor, builder };
    for step in &plan.steps {
        // most fields of most events are not set; to look for several of them at once costs more than it saves
        if step.nothing.is_some_and(|byte| run.cursor.take_if(byte)) {
            continue;
        }
        run.step(step).map_err(|fail| fail.named(Name::Ours(step.name.clone())))?;
    }
    let left = run.cursor.rest().len();
    if left > 0 {
        let what = format!("{left} bytes are left after the event");
        return Err(Fail::new(codes::TRAILING_BYTES, what).at(run.cursor.position()));
    }
    Ok(())
}

struct Run<'a, 'b, 'd> {
    plan: &'a Plan,
    cursor: Cursor<'a>,
    builder: &'b mut Builder<'d>,
}

/// What stands next.
enum Next<'a> {
    Scalar(Scalar<'a>),
    Array(&'a Node),
    Map(&'a Node),
    Record(usize),
}

/// Reads with the cursor, and says where it failed.
macro_rules! read {
    ($run:expr, $read:ident($($arg:expr)?)) => {{
        let at = $run.cursor.position();
        $run.cursor.$read($($arg)?).map_err(|e| Fail::avro(e, at))
    }};
}

impl<'a> Run<'a, '_, '_> {
    #[inline]
    fn step(&mut self, step: &'a Step) -> Result<(), Fail> {
        if let Some(branch) = step.branch {
            let said = read!(self, long())?;
            if said != branch {
                // a padded number may still say null
                return if said == 1 - branch { Ok(()) } else { Err(self.no_branch()) };
            }
        }
        let (field, at) = (step.target, self.cursor.position());
        match &step.how {
            How::Text => {
                let text = read!(self, string())?;
                self.builder.put_text(field, text).map_err(|trip| trip.fail().at(at))?;
            }
            How::Moment(unit) => {
                let micros = unit.micros(read!(self, long())?);
                self.builder.put_moment(field, micros);
            }
            How::Enum(table) => {
                let index = read!(self, long())?;
                match usize::try_from(index).ok().and_then(|index| table.get(index)) {
                    Some(&NO_SYMBOL) => self.unknown_symbol(step, field, index),
                    Some(place) => {
                        if let Slot::Enum(slot) = self.builder.event.slot(field) {
                            slot.set_index(usize::from(*place));
                        }
                    }
                    None => return Err(Fail::new(codes::NOT_AVRO, "an enum has no symbol of that number").at(at)),
                }
            }
            How::Int | How::Long | How::Double | How::Boolean => {
                let value = match &step.how {
                    How::Int => Scalar::Long(i64::from(self.int()?)),
                    How::Double => Scalar::Double(read!(self, double())?),
                    How::Boolean => Scalar::Bool(read!(self, boolean())?),
                    _ => Scalar::Long(read!(self, long())?),
                };
                self.builder.put(field, &value).map_err(|trip| trip.fail().at(at))?;
            }
            How::Map => self.entries()?,
            How::Other => self.other(step)?,
        }
        Ok(())
    }

    fn unknown_symbol(&mut self, step: &'a Step, field: Field, index: i64) {
        let symbols = match &step.node {
            Node::Enum(symbols) => Some(symbols),
            Node::Union(branches) => branches.iter().find_map(|branch| match branch {
                Node::Enum(symbols) => Some(symbols),
                _ => None,
            }),
            _ => None,
        };
        let symbol = usize::try_from(index).ok().and_then(|index| symbols?.get(index));
        self.builder.reject_field(field, symbol.map_or("", |symbol| symbol), "invalid");
    }

    /// Any type into any field, or into attributes.
    fn other(&mut self, step: &'a Step) -> Result<(), Fail> {
        let at = self.cursor.position();
        let next = self.next(&step.node, 0)?;
        let Some(field) = step.field else {
            let keep = self.builder.unknown();
            return self.put(next, &mut Path::new(&step.name), step.mark, None, keep, at);
        };
        if let Next::Scalar(value) = next {
            let trip = step.mark.judge(&value, None);
            return match trip {
                Some(trip) => Err(trip.fail().at(at)),
                None => self.builder.put(field, &value).map_err(|trip| trip.fail().at(at)),
            };
        }
        match (field.field_type(), next) {
            (FieldType::Texts, Next::Array(items)) if !step.mark.is_set() => self.items(field, items),
            (FieldType::Map, Next::Map(values)) if !step.mark.is_set() => self.attributes(values),
            (FieldType::Map, Next::Record(place)) if !step.mark.is_set() => {
                self.record(place, &mut Path::default(), step.mark, Keep::Explicit)
            }
            (_, next) => {
                self.builder.reject_parts(field);
                let keep = if self.builder.rules().keep_event_only { Keep::Nothing } else { Keep::Raw };
                self.put(next, &mut Path::new(&format!("raw.{}", field.name())), step.mark, None, keep, at)
            }
        }
    }

    /// An array of strings that is a field.
    fn items(&mut self, field: Field, items: &'a Node) -> Result<(), Fail> {
        let mut octets = Octets::default();
        self.blocks(items, &mut |run, place| {
            let at = run.cursor.position();
            match run.next(items, 0)? {
                Next::Scalar(value) => {
                    if let Some(what) = octets.push(value.to_octet()) {
                        return Err(super::guard::Trip::Content(what).fail().at(at));
                    }
                    run.builder.put_item(field, &value).map_err(|trip| trip.fail().at(at))
                }
                next => {
                    run.builder.note(field.name(), "invalid");
                    run.put(next, &mut Path::default(), Mark::default(), Some(place), Keep::Nothing, at)
                }
            }
        })
    }

    /// The map of strings that is the event's own.
    fn entries(&mut self) -> Result<(), Fail> {
        self.blocks(&Node::String, &mut |run, _| {
            let at = run.cursor.position();
            let name = read!(run, string())?;
            let value = read!(run, string())?;
            let named = || Name::Theirs(super::fail::cut(name, 128).into());
            run.builder.put_entry(name, value).map_err(|trip| trip.fail().named(named()).at(at))
        })
    }

    /// The same, of values of any type.
    fn attributes(&mut self, values: &'a Node) -> Result<(), Fail> {
        self.map(values, &mut Path::default(), Mark::default(), Keep::Explicit)
    }

    /// A value that is no field.
    fn put(
        &mut self,
        next: Next<'a>,
        path: &mut Path,
        mark: Mark,
        place: Option<usize>,
        keep: Keep,
        at: usize,
    ) -> Result<(), Fail> {
        let keep = match next {
            Next::Scalar(_) => keep,
            _ => path
                .enter(keep, self.builder)
                .ok_or_else(|| Fail::new(codes::NOT_AVRO, "values nest too deep").at(at))?,
        };
        match next {
            Next::Scalar(value) => {
                let put = self.builder.put_attribute(path.as_str(), mark, &value, place, keep);
                return put.map_err(|trip| trip.fail().named(path.name()).at(at));
            }
            Next::Array(items) => self.array(items, path, mark, keep),
            Next::Map(values) => self.map(values, path, mark, keep),
            Next::Record(place) => self.record(place, path, mark, keep),
        }?;
        path.leave();
        Ok(())
    }

    fn array(&mut self, items: &'a Node, path: &mut Path, mark: Mark, keep: Keep) -> Result<(), Fail> {
        let mut octets = Octets::default();
        self.blocks(items, &mut |run, place| {
            let at = run.cursor.position();
            let next = run.next(items, path.depth())?;
            let outer = path.push_place(place, keep);
            if let Next::Scalar(value) = &next
                && let Some(what) = octets.push(value.to_octet())
            {
                return Err(super::guard::Trip::Content(what).fail().named(path.name()).at(at));
            }
            run.put(next, path, mark, Some(place), keep, at)?;
            path.pop(outer);
            Ok(())
        })
    }

    fn map(&mut self, values: &'a Node, path: &mut Path, mark: Mark, keep: Keep) -> Result<(), Fail> {
        self.blocks(&Node::String, &mut |run, _| {
            let at = run.cursor.position();
            let name = read!(run, string())?;
            let next = run.next(values, path.depth())?;
            let outer = path.push(name);
            let mark = run.builder.rules().mark(path.as_str(), name, mark);
            run.put(next, path, mark, None, keep, at)?;
            path.pop(outer);
            Ok(())
        })
    }

    fn record(&mut self, place: usize, path: &mut Path, mark: Mark, keep: Keep) -> Result<(), Fail> {
        for member in self.plan.records.get(place).into_iter().flatten() {
            let at = self.cursor.position();
            let next = self.next(&member.node, path.depth())?;
            let outer = path.push(&member.name);
            let mark = member.mark(path.as_str(), self.builder.rules(), mark);
            self.put(next, path, mark, None, keep, at)?;
            path.pop(outer);
        }
        Ok(())
    }

    /// Calls `each` for every item of an array or map, in blocks of any kind. Items that take no bytes are counted,
    /// not visited: there may be 2^63 of them.
    fn blocks(&mut self, item: &Node, each: &mut dyn FnMut(&mut Self, usize) -> Result<(), Fail>) -> Result<(), Fail> {
        let mut place = 0;
        loop {
            let at = self.cursor.position();
            let count = read!(self, long())?;
            let size = if count < 0 { Some(read!(self, long())?) } else { None };
            let count = count.unsigned_abs();
            let start = self.cursor.position();
            if count == 0 {
                return Ok(());
            }
            if !matches!(item, Node::Void) {
                // every item takes at least a byte
                if count > self.cursor.rest().len() as u64 {
                    return Err(Fail::avro(crate::avro::Malformed::Truncated, at));
                }
                for _ in 0..count {
                    each(self, place)?;
                    place += 1;
                }
            }
            if size.is_some_and(|size| usize::try_from(size) != Ok(self.cursor.position() - start)) {
                return Err(Fail::new(codes::NOT_AVRO, "a block is not as long as it says").at(at));
            }
        }
    }

    fn no_branch(&self) -> Fail {
        Fail::new(codes::NOT_AVRO, "a union has no branch of that number").at(self.cursor.position())
    }

    /// Reads a value, or only what says which value follows.
    fn next(&mut self, node: &'a Node, depth: usize) -> Result<Next<'a>, Fail> {
        Ok(Next::Scalar(match node {
            Node::Void => Scalar::Null,
            Node::Boolean => Scalar::Bool(read!(self, boolean())?),
            Node::Int => Scalar::Long(i64::from(self.int()?)),
            Node::Long => Scalar::Long(read!(self, long())?),
            Node::Float => Scalar::Float(read!(self, float())?),
            Node::Double => Scalar::Double(read!(self, double())?),
            Node::Bytes => Scalar::Bytes(read!(self, bytes())?),
            Node::String => Scalar::text(read!(self, string())?),
            Node::Fixed(size) => Scalar::Bytes(read!(self, take(*size))?),
            Node::Enum(symbols) => {
                let at = self.cursor.position();
                let index = usize::try_from(read!(self, long())?).ok();
                let symbol = index.and_then(|index| symbols.get(index));
                let none = || Fail::new(codes::NOT_AVRO, "an enum has no symbol of that number").at(at);
                Scalar::Symbol(symbol.ok_or_else(none)?)
            }
            Node::Moment(unit) => Scalar::Moment(unit.micros(read!(self, long())?)),
            // dates reach further than microseconds in 64 bits
            Node::Date => Scalar::Moment(i64::from(self.int()?).checked_mul(86_400_000_000)),
            Node::Decimal(scale) => {
                let bytes = read!(self, bytes())?;
                decimal(bytes, *scale).map_or(Scalar::Bytes(bytes), Scalar::owned)
            }
            Node::Union(branches) => {
                let branch = usize::try_from(read!(self, long())?).ok().and_then(|branch| branches.get(branch));
                let branch = branch.ok_or_else(|| self.no_branch())?;
                if depth > MAX_DEPTH {
                    return Err(Fail::new(codes::NOT_AVRO, "values nest too deep").at(self.cursor.position()));
                }
                return self.next(branch, depth + 1);
            }
            Node::Array(items) => return Ok(Next::Array(items)),
            Node::Map(values) => return Ok(Next::Map(values)),
            Node::Record(place) => return Ok(Next::Record(*place)),
        }))
    }

    fn int(&mut self) -> Result<i32, Fail> {
        let at = self.cursor.position();
        let value = read!(self, long())?;
        i32::try_from(value).map_err(|_| Fail::new(codes::NOT_AVRO, "an int is beyond 32 bits").at(at))
    }
}

impl Scalar<'_> {
    /// The number, if it may be a byte of a file that was sent as an array of numbers.
    pub(crate) fn to_octet(&self) -> Option<i64> {
        match self {
            Self::Long(number) => Some(*number),
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }
}
