//! Mappings: files that say, for one product, where in its records the fields of an event stand. `docs/mappings.md`
//! has the language.
//!
//! ```text
//! file ── source, load, value ─▶ Plan          once a topic, every mistake with its line
//! record ── doc ─▶ parse, kind, fields ─▶ Builder    the same normalisation and guards as canonical JSON
//! ```

mod describe;
mod doc;
mod eval;
pub mod infer;
mod load;
mod pairs;
mod path;
mod plan;
mod run;
mod shipped;
mod source;
#[cfg(test)]
mod tests;
mod time;
mod value;

pub use describe::{Known, describe, kinds_of, known_of, sources_of};
pub use plan::About;
pub(crate) use plan::Plan;
pub(in crate::decode) use run::{Said, read_json, read_line};
pub use shipped::{SHIPPED, shipped};
pub use source::{Problem, Problems};

pub(crate) use load::load;
pub use load::offset;

use crate::artifact::File;

/// What a mapping file says of itself, or everything that is wrong with it.
pub fn check(file: &File) -> Result<About, Problems> {
    load(file).map(|plan| plan.about)
}

/// Where a mapping takes a field from, as it is written there: for people who wonder why it is not set.
pub fn origins(file: &File, field: crate::event::Field) -> Vec<String> {
    load(file).map(|plan| describe::origins(&plan, field)).unwrap_or_default()
}
