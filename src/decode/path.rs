//! Where a nested value stands: the names around it, joined with dots. It is the name of the attribute that the value
//! becomes.

use super::{
    build::{Builder, Keep},
    fail::{Name, cut},
};
use crate::event::Text;

/// Values nest at most this deep.
pub(crate) const MAX_DEPTH: usize = 64;
/// Values nested deeper than this become no attributes.
pub(crate) const MAX_FLAT: usize = 8;

/// The names around a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    text: String,
    depth: usize,
}

impl Path {
    /// The path of a value that stands at the top.
    pub fn new(name: &str) -> Self {
        Self { text: name.to_string(), depth: 0 }
    }

    /// Joined with dots.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many values are around the next.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// For a failure: the last name alone, as those around it may be data.
    pub fn name(&self) -> Name {
        let is_place = |name: &&str| name.bytes().all(|c| c.is_ascii_digit());
        let last = self.text.rsplit('.').find(|name| !is_place(name)).unwrap_or_default();
        Name::Theirs(Text::from(cut(last, 128)))
    }

    /// Goes into a value that holds others. None if that is too deep to read at all; else whether what is in it is
    /// still kept.
    pub fn enter(&mut self, keep: Keep, builder: &mut Builder) -> Option<Keep> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        if keep != Keep::Nothing && builder.is_full(keep) {
            builder.note("attributes", "too_many");
            return Some(Keep::Nothing);
        }
        if self.depth > MAX_FLAT && keep != Keep::Nothing {
            builder.note("attributes", "too_deep");
            return Some(Keep::Nothing);
        }
        Some(keep)
    }

    /// Comes out of it again.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Goes to a value by its name; [`Path::pop`] takes what this returns.
    pub fn push(&mut self, name: &str) -> usize {
        let outer = self.text.len();
        if outer > 0 {
            self.text.push('.');
        }
        self.text.push_str(name);
        outer
    }

    /// Goes to an item of an array. Its place matters only if it becomes the name of an attribute.
    pub fn push_place(&mut self, place: usize, keep: Keep) -> usize {
        use std::fmt::Write;
        let outer = self.text.len();
        if keep == Keep::Nothing {
            return outer;
        }
        let _ = write!(self.text, "{}{place}", if outer > 0 { "." } else { "" });
        outer
    }

    /// Goes back.
    pub fn pop(&mut self, outer: usize) {
        self.text.truncate(outer);
    }
}
