//! Fills in what an event leaves out and others know: the place and network of an address, from databases that the
//! operator supplies, and the software that a user agent names.
//!
//! What the source said is never overwritten, and what was filled in is named with its origin in the attribute
//! [`ENRICHED`]: without it nobody could tell later what the source had said. The origin is the digest of the database,
//! so that two instances with different databases, or one before and after a change, say so in each event, and nothing
//! else has to agree. No I/O: databases come as bytes.

mod agent;
mod cache;
mod database;
mod record;

pub use database::{Database, MAX_DATABASE};

use crate::event::{AuthEvent, Text};
use agent::Agents;
use record::Facts;
use smallvec::SmallVec;
use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock},
};

/// The attribute that names what was filled in: `<name>,<name>=<origin>; …`. No source can set it.
pub const ENRICHED: &str = "enriched";
/// Databases in force at most.
pub const MOST_DATABASES: usize = 8;

/// The attributes of a user agent, and what stands for their origin.
const CLIENT: &str = "ua.client";
const OS: &str = "ua.os";
const AGENTS: &str = "woothee@0.13";

/// Fills events in. Shared by all decoders of a process.
pub struct Enricher {
    databases: RwLock<Arc<[Arc<Database>]>>,
    agents: Option<Agents>,
}

/// Names of what was filled in from one origin.
type Names = SmallVec<[&'static str; 8]>;

impl Enricher {
    /// With these databases: of what several know, the first one's word counts. `agents`: parse user agents too.
    pub fn new(databases: Vec<Arc<Database>>, agents: bool) -> Self {
        Self { databases: RwLock::new(databases.into()), agents: agents.then(Agents::default) }
    }

    /// The databases in force.
    pub fn databases(&self) -> Arc<[Arc<Database>]> {
        self.databases.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others into force, from the next event on.
    pub fn replace(&self, databases: Vec<Arc<Database>>) {
        *self.databases.write().unwrap_or_else(PoisonError::into_inner) = databases.into();
    }

    /// Fills an event in. Whatever goes wrong, the event stays what it was or gets less than it could.
    pub fn enrich(&self, event: &mut AuthEvent) {
        let mut marks = String::new();
        // foreign code on foreign bytes: an event must not be lost to it
        let _ = catch_unwind(AssertUnwindSafe(|| self.fill(event, &mut marks)));
        if !marks.is_empty() {
            event.attributes.insert(ENRICHED, marks.as_str());
        }
    }

    fn fill(&self, event: &mut AuthEvent, marks: &mut String) {
        if let Some(ip) = event.src_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) {
            for database in self.databases().iter() {
                if let Some(facts) = database.facts(ip) {
                    mark(marks, &fill_place(event, &facts), database.label());
                }
            }
        }
        let (Some(agents), Some(text)) = (&self.agents, event.user_agent.as_deref()) else { return };
        let agent = agents.parse(text);
        let mut names = Names::new();
        for (name, value) in [(CLIENT, &agent.client), (OS, &agent.os)] {
            if let Some(value) = value
                && event.attributes.get(name).is_none()
            {
                event.attributes.insert(name, value.clone());
                names.push(name);
            }
        }
        mark(marks, &names, AGENTS);
    }
}

/// Sets what is not set. A database that sees the address in another country or city than the source adds nothing to
/// its place: coordinates of the one under the name of the other would be a place that nobody meant.
fn fill_place(event: &mut AuthEvent, facts: &Facts) -> Names {
    let mut names = Names::new();
    let agrees = |said: &Option<Text>, known: &Option<Text>| match (said, known) {
        (Some(said), Some(known)) => said.eq_ignore_ascii_case(known),
        _ => true,
    };
    let same_country = agrees(&event.country, &facts.country);
    let same_city = same_country && agrees(&event.city, &facts.city);
    if same_country && set(&mut event.country, &facts.country) {
        names.push("country");
    }
    if same_city && set(&mut event.city, &facts.city) {
        names.push("city");
    }
    if let Some((lat, long)) = facts.place
        && same_city
        && event.lat.is_none()
        && event.long.is_none()
    {
        (event.lat, event.long) = (Some(lat), Some(long));
        names.extend(["lat", "long"]);
    }
    if set(&mut event.src_asn, &facts.asn) {
        names.push("src_asn");
    }
    if set(&mut event.is_proxy, &facts.proxy) {
        names.push("is_proxy");
    }
    if set(&mut event.is_vpn, &facts.vpn) {
        names.push("is_vpn");
    }
    names
}

fn set<T: Clone>(field: &mut Option<T>, value: &Option<T>) -> bool {
    let set = field.is_none() && value.is_some();
    if set {
        field.clone_from(value);
    }
    set
}

fn mark(marks: &mut String, names: &[&str], origin: &str) {
    if names.is_empty() {
        return;
    }
    // one growth for all that is common
    marks.reserve(if marks.is_empty() { 192 } else { 0 });
    for (place, name) in names.iter().enumerate() {
        marks.push_str(match (place, marks.is_empty()) {
            (0, true) => "",
            (0, false) => "; ",
            _ => ",",
        });
        marks.push_str(name);
    }
    marks.push('=');
    marks.push_str(origin);
}

/// What [`ENRICHED`] says: names, and where they come from.
pub fn marks(text: &str) -> impl Iterator<Item = (impl Iterator<Item = &str>, &str)> {
    text.split("; ").filter_map(|entry| entry.split_once('=')).map(|(names, origin)| (names.split(','), origin))
}
