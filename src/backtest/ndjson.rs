//! Events from text: one JSON object a line with the canonical field names (docs/input.md), or the records of another
//! product through a mapping (docs/mappings.md).

use super::{
    Progress,
    feed::{Closed, Feed, Out, Record},
};
use crate::{
    decode::{Decoder, Format, MAX_VALUE, TopicSpec},
    error::{Error, Kind, Result},
    position::ChainId,
    record::{Outcome, RawRecord, TimestampType},
};
use std::{
    io::{BufRead, Read},
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// How the lines of a file are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Canonical JSON, or a mapping.
    pub format: Format,
    /// The time that each record is taken to have, in milliseconds since 1970: times without a year are read by it.
    pub record_time: Option<i64>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { format: Format::Json, record_time: None }
    }
}

/// Reads the events of a text. The offset of each is the number of its line, from 1; the topic is the name of the file.
pub struct Lines<R> {
    reader: R,
    name: String,
    chain: Arc<ChainId>,
    decoder: Decoder,
    line: i64,
    time: i64,
    record_time: Option<i64>,
}

/// The records of a text. `place` tells several files of the same name apart.
pub fn lines<R: BufRead>(reader: R, name: &str, place: u32, reading: &Reading) -> Result<Lines<R>> {
    let spec = TopicSpec {
        format: reading.format.clone(),
        source: None,
        tenant: None,
        keep_event_only: false,
        secret_fields: Vec::new(),
    };
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
    let topic: String = stem
        .chars()
        .take(200)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    let topic = if topic.is_empty() { "events".into() } else { topic };
    let chain = Arc::new(ChainId { cluster: "file".into(), topic, partition: place, incarnation: 0 });
    // nothing is kept, so nothing has to be told apart by a secret
    let decoder = Decoder::new(spec, &[0; 32])?;
    Ok(Lines { reader, name: name.into(), chain, decoder, line: 0, time: 0, record_time: reading.record_time })
}

impl<R: BufRead> Lines<R> {
    /// Its chain.
    pub fn chain(&self) -> &Arc<ChainId> {
        &self.chain
    }

    /// The record of the next line that is not empty, and the bytes of its line.
    pub fn next(&mut self) -> Result<Option<(Record, usize)>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            // what is longer is no value that could have come through Kafka; it must not fill the memory
            let most = MAX_VALUE as u64 + 2;
            let read = (&mut self.reader).take(most).read_until(b'\n', &mut line);
            let read = read.map_err(|e| Error::new(Kind::Retry, format!("reading {}", self.name)).caused_by(e))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 == most && line.last() != Some(&b'\n') {
                let (name, line) = (&self.name, self.line);
                return Err(Error::data(format!("{name}:{line}: the line has more than 16 MiB: is this NDJSON?")));
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let value = line.trim_ascii_end().to_vec();
        let mut raw = RawRecord { offset: self.line, timestamp: -1, value: Some(value.into()), ..RawRecord::default() };
        if let Some(time) = self.record_time {
            (raw.timestamp, raw.timestamp_type) = (time, TimestampType::CreateTime);
        }
        let outcome = self.decoder.decode(&self.chain, &raw).outcome;
        if let Outcome::Event(event) = &outcome {
            self.time = event.time.millis();
        }
        let (time, chain) = (self.time, self.chain.clone());
        Ok(Some((Record { time, chain, offset: self.line, timestamp: -1, outcome }, line.len())))
    }
}

/// The events of files, each by its name. A file is a lane of its own: what is out of order in it comes as it stands
/// there.
pub fn of_lines<R: BufRead + Send + 'static>(
    files: Vec<(String, R)>,
    reading: &Reading,
    progress: &Arc<Progress>,
) -> Result<Feed> {
    let mut feed = Feed::new();
    progress.sources.store(files.len() as u64, Relaxed);
    for (place, (name, reader)) in (0..).zip(files) {
        let mut lines = lines(reader, &name, place, reading)?;
        let progress = progress.clone();
        feed.lane(&name, move |out: &mut Out| {
            while let Some((record, bytes)) = lines.next()? {
                progress.bytes.fetch_add(bytes as u64, Relaxed);
                if let Err(Closed) = out.push(record, bytes) {
                    return Ok(Err(Closed));
                }
            }
            progress.sources_done.fetch_add(1, Relaxed);
            Ok(Ok(()))
        })?;
    }
    Ok(feed)
}
