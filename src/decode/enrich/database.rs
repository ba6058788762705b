//! A database in MaxMind's format (<https://maxmind.github.io/MaxMind-DB/>), in memory.
//!
//! It is read into memory, not mapped: whoever copies a new file over a mapped one ends the process. So it costs its
//! size.

use super::{
    cache::Cache,
    record::{Facts, Node},
};
use crate::{
    digest::{Digest, hex},
    event::Text,
};
use maxminddb::{Reader, WithinOptions};
use std::{net::IpAddr, sync::Arc};

/// Bytes of a database at most: the largest that are sold have half of it.
pub const MAX_DATABASE: u64 = 1 << 30;
/// Records that stay decoded: some 10 MiB.
const MOST_CACHED: usize = 64 * 1024;
/// Records that are looked at to learn whether a database has anything for us.
const SAMPLE: usize = 4096;
/// Bytes of a database's type that are named.
const LONGEST_TYPE: usize = 64;

/// A database that was checked as a whole.
pub struct Database {
    reader: Reader<Vec<u8>>,
    label: Text,
    built: i64,
    /// What records say, by their place: many networks share one.
    cache: Cache<usize, Facts>,
}

impl Database {
    /// Checks the bytes of a file: all of its tree and all of its records. The error says what is wrong with it.
    pub fn new(bytes: Vec<u8>) -> Result<Self, String> {
        let digest = Digest::of(&bytes);
        let reader = Reader::from_source(bytes).map_err(|e| format!("it is no database in MaxMind's format: {e}"))?;
        reader.verify().map_err(|e| format!("it is damaged: {e}"))?;
        let about = reader.metadata();
        let built = i64::try_from(about.build_epoch).unwrap_or(i64::MAX);
        let day = jiff::Timestamp::from_second(built)
            .map_or_else(|_| built.to_string(), |t| t.strftime("%Y-%m-%d").to_string());
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let kind: String = about.database_type.chars().take(LONGEST_TYPE).map(plain).collect();
        let label = Text::from(format!("{kind}@{day}#{}", hex(&digest.0[..8])));
        let database = Self { reader, label, built, cache: Cache::new(MOST_CACHED) };
        if database.knows_nothing()? {
            let what = "country, city, coordinates, network number, proxy, VPN";
            return Err(format!("it is a {kind}, and has nothing that events have fields for ({what})"));
        }
        Ok(database)
    }

    /// Whether none of its first records has anything for us.
    fn knows_nothing(&self) -> Result<bool, String> {
        let networks = self.reader.networks(WithinOptions::default()).map_err(|e| format!("it is damaged: {e}"))?;
        for found in networks.take(SAMPLE) {
            let found = found.map_err(|e| format!("it is damaged: {e}"))?;
            let node = found.decode::<Node<'_>>().map_err(|e| format!("it is damaged: {e}"))?;
            if node.is_some_and(|node| Facts::of(&node) != Facts::default()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What events call it: its type, the day it was built, and the first 64 bits of its SHA-256.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// When it was built, in seconds since 1970, as it says.
    pub fn built(&self) -> i64 {
        self.built
    }

    /// What it says of an address. An IPv6 address in a database of IPv4 alone is not known.
    pub(super) fn facts(&self, ip: IpAddr) -> Option<Arc<Facts>> {
        let found = self.reader.lookup(ip).ok()?;
        let place = found.offset()?;
        if let Some(facts) = self.cache.get(&place) {
            return Some(facts);
        }
        let facts = Arc::new(Facts::of(&found.decode().ok()??));
        self.cache.insert(place, facts.clone());
        Some(facts)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.label)
    }
}
