//! Schema registries: where a record names its schema by a number, the schema is asked for. The contract first; `http`
//! speaks Confluent's API, which other registries speak too.

mod cache;
pub mod http;

use crate::error::Error;
use futures_util::future::BoxFuture;

/// Why there is no schema of an id.
#[derive(Debug)]
pub enum Failure {
    /// The registry says that it has no such id.
    Unknown,
    /// It has one that can never be used, and why: no Avro, broken, references without an end.
    Unusable(String),
    /// It answers other questions, and not this one.
    Withheld(Error),
    /// It cannot be asked: it is down, or refuses us altogether.
    Away(Error),
}

/// Where schemas are asked for by their ids, which mean the same for ever.
pub trait Registry: Send + Sync + 'static {
    /// Asks once. The schema stands by itself: what it refers to is in it. It parses.
    fn fetch(&self, id: u32) -> BoxFuture<'static, Result<Vec<u8>, Failure>>;

    /// Its address, for people.
    fn describe(&self) -> String;
}
