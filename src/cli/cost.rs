//! What a configuration costs in objects and money: an estimate, with every assumption said.

use crate::config::Config;
use serde_json::{Value, json};
use std::fmt::Write;

const YEAR_SECONDS: f64 = 365.0 * 86_400.0;
const MONTHS: f64 = 12.0;
const GIB: f64 = (1_u64 << 30) as f64;
/// List prices of S3 Standard in us-east-1, US dollars, as of 2026: other regions and stores differ.
const PUT_PRICE: f64 = 0.005 / 1000.0;
const READ_PRICE: f64 = 0.0004 / 1000.0;
const GIB_MONTH_PRICE: f64 = 0.023;
/// Header of a segment: the schema and the signed manifest.
const HEADER_BYTES: f64 = 13.0 * 1024.0;
/// What a leaf adds to the value of a record: the decoded event, offset, timestamps.
const LEAF_BYTES: f64 = 250.0;

/// What the estimate is made for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Load {
    /// Partitions of all topics together
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    partitions: u32,
    /// Events per second of all partitions together
    #[arg(long, default_value_t = 1000.0, value_parser = not_negative)]
    events_per_second: f64,
    /// Bytes of an event as it arrives
    #[arg(long, default_value_t = 230.0, value_parser = not_negative)]
    event_bytes: f64,
    /// Bytes of an event in the store, compressed; measure it on your own events
    #[arg(long, default_value_t = 120.0, value_parser = not_negative)]
    stored_bytes: f64,
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err("must be a number from 0".into()) }
}

/// An estimate for one year.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    objects: f64,
    bytes: f64,
    requests_usd: f64,
    storage_usd_month: f64,
}

/// What `config` makes of `load` in a year.
pub fn estimate(config: &Config, load: &Load) -> Estimate {
    let seal = &config.seal;
    let rate = load.events_per_second / f64::from(load.partitions);
    let heartbeats = 1.0 / seal.heartbeat.as_secs_f64();
    let per_partition = if rate == 0.0 {
        heartbeats
    } else {
        // a segment ends by age (counted from its first record), by records or by bytes, whatever comes first
        let by_age = seal.max_age.as_secs_f64() + 1.0 / rate;
        let by_records = seal.max_records as f64 / rate;
        let by_bytes = seal.max_bytes as f64 / (rate * (load.event_bytes + LEAF_BYTES));
        let idle = if 1.0 / rate > seal.heartbeat.as_secs_f64() { heartbeats } else { 0.0 };
        1.0 / by_age.min(by_records).min(by_bytes) + idle
    };
    let objects = per_partition * f64::from(load.partitions) * YEAR_SECONDS;
    let bytes = objects * HEADER_BYTES + load.events_per_second * YEAR_SECONDS * load.stored_bytes;
    Estimate {
        objects,
        bytes,
        // each put is followed by a read of its lock
        requests_usd: objects * (PUT_PRICE + READ_PRICE),
        storage_usd_month: bytes / GIB * GIB_MONTH_PRICE,
    }
}

impl Estimate {
    /// For programs.
    pub fn to_json(self, load: &Load) -> Value {
        json!({
            "partitions": load.partitions,
            "events_per_second": load.events_per_second,
            "event_bytes": load.event_bytes,
            "stored_bytes": load.stored_bytes,
            "objects_a_year": self.objects.round(),
            "gib_a_year": round(self.bytes / GIB),
            "requests_usd_a_year": round(self.requests_usd),
            "storage_usd_a_month_after_a_year": round(self.storage_usd_month),
            "first_year_usd": round(self.first_year()),
        })
    }

    /// Requests, and storage that grows evenly from nothing.
    fn first_year(&self) -> f64 {
        self.requests_usd + self.storage_usd_month * MONTHS / 2.0
    }

    /// For people.
    pub fn to_text(self, load: &Load) -> String {
        let mut text = String::new();
        let events = load.events_per_second;
        // writing to a string cannot fail
        let _ = writeln!(text, "a year of {events} events/s in {} partitions:", load.partitions);
        let _ = writeln!(text, "  objects           {}", thousands(self.objects));
        let _ = writeln!(text, "  stored            {} GiB", thousands(self.bytes / GIB));
        let _ = writeln!(text, "  requests          {} USD", thousands(self.requests_usd));
        let _ = writeln!(
            text,
            "  storage           {} USD a month when the year is over",
            thousands(self.storage_usd_month)
        );
        let _ = writeln!(text, "  first year        {} USD in all", thousands(self.first_year()));
        let _ = writeln!(
            text,
            "  assumed: S3 Standard, us-east-1, list prices of 2026: 0.005 USD for 1,000 puts, 0.0004 for 1,000\n  \
             reads, 0.023 for a GiB and month; {} bytes an event arriving, {} stored; 13 KiB a header;\n  \
             one read after each put; no traffic out",
            load.event_bytes, load.stored_bytes,
        );
        text
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// `1,234,567`, or two decimals below ten.
fn thousands(number: f64) -> String {
    if number < 10.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_people() {
        for (number, text) in
            [(0.0, "0.00"), (9.994, "9.99"), (10.0, "10"), (999.6, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
        assert!(not_negative("-1").is_err() && not_negative("NaN").is_err() && not_negative("inf").is_err());
    }
}
