//! Builds a segment in memory: each leaf is encoded, hashed and counted as it comes, each block compressed as it fills.

use super::{Codec, Draft, MAX_BLOCK, MAX_SEGMENT, MAX_VALUE, codec, encode, schema};
use crate::{
    avro::put_long,
    digest::Digest,
    error::{Error, Result},
    manifest::{Counts, Offsets, Times},
    merkle::Tree,
    record::{Decoded, Gap, Outcome, RawRecord, TimestampType},
};
use std::cell::RefCell;

/// What a leaf takes at most as a rule; a longer one is encoded all the same.
const LEAF: usize = 16 << 10;
/// A block, and the leaf that no longer fits into it.
const ROOM: usize = MAX_BLOCK + LEAF;

thread_local! {
    /// Where a block is compressed before its length is known: one for each thread, not one for each open segment.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Leaves of consecutive offsets, encoded as they come.
pub struct SegmentBuilder {
    codec: Codec,
    level: i32,
    from: i64,
    to: i64,
    /// Leaves of the block that is still open, and how many.
    block: Vec<u8>,
    in_block: i64,
    /// Finished blocks. Their sync markers depend on the root and are still zeros, at these places.
    body: Vec<u8>,
    markers: Vec<usize>,
    tree: Tree,
    uncompressed: usize,
    counts: Counts,
    times: Times,
}

impl SegmentBuilder {
    /// An empty segment that begins at offset `from`. `level` is zstd's (1 to 19) or deflate's (1 to 9).
    pub fn new(from: i64, codec: Codec, level: i32) -> Self {
        Self {
            codec,
            level,
            from,
            to: from,
            block: Vec::new(),
            in_block: 0,
            body: Vec::new(),
            markers: Vec::new(),
            tree: Tree::default(),
            uncompressed: 0,
            counts: Counts::default(),
            times: Times { first_event: None, last_event: None, first_record: None, last_record: None, sealed: 0 },
        }
    }

    /// Appends a record. Its offset must be [`SegmentBuilder::to`]. After an error the segment is as it was before.
    ///
    /// `Kind::Data`: the segment has no room for it (an empty one: it is too large to be sealed at all), or its value
    /// is over
    /// [`MAX_VALUE`] and not withheld. `Kind::Bug`: the offset is not the next.
    pub fn push_record(&mut self, raw: &RawRecord, decoded: &Decoded) -> Result<()> {
        let next = raw.offset.checked_add(1).filter(|_| raw.offset == self.to && raw.offset >= 0);
        let next = next.ok_or_else(|| self.out_of_order(raw.offset))?;
        self.check(raw, decoded)?;
        self.push(|out| encode::record(out, raw, decoded))?;
        self.to = next;
        match &decoded.outcome {
            Outcome::Event(event) => {
                self.counts.events += 1;
                widen(&mut self.times.first_event, &mut self.times.last_event, event.time.millis());
            }
            Outcome::Rejection(_) => self.counts.rejections += 1,
            Outcome::Opaque => self.counts.opaque += 1,
        }
        if raw.timestamp_type != TimestampType::None {
            widen(&mut self.times.first_record, &mut self.times.last_record, raw.timestamp);
        }
        Ok(())
    }

    /// Appends a gap. It must begin at [`SegmentBuilder::to`].
    pub fn push_gap(&mut self, gap: Gap) -> Result<()> {
        if gap.from != self.to || gap.from < 0 || gap.to <= gap.from {
            return Err(self.out_of_order(gap.from));
        }
        self.push(|out| encode::gap(out, &gap))?;
        self.to = gap.to;
        *self.counts.gaps.of_mut(gap.cause) += gap.to - gap.from;
        Ok(())
    }

    /// The first offset covered.
    pub fn from(&self) -> i64 {
        self.from
    }

    /// The next offset expected.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// Leaves so far.
    pub fn records(&self) -> usize {
        self.tree.len() as usize
    }

    /// Uncompressed bytes of the leaves so far.
    pub fn uncompressed_bytes(&self) -> usize {
        self.uncompressed
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        let buffers = self.block.capacity() + self.body.capacity();
        buffers + self.markers.capacity() * size_of::<usize>() + size_of::<Self>()
    }

    /// Whether another leaf of this many bytes (`RawRecord::size` plus overhead) still fits under the 64 MiB.
    /// An estimate on the safe side: the event says most of what the value says once more. Always true of an empty
    /// segment:
    /// what does not fit there fits nowhere, and [`SegmentBuilder::push_record`] says so.
    pub fn has_room(&self, raw: &RawRecord) -> bool {
        let leaf = raw.size().saturating_mul(3).saturating_add(raw.headers.len() * 16 + 4096);
        self.tree.is_empty() || self.uncompressed.saturating_add(leaf) <= MAX_SEGMENT
    }

    /// Ends the segment: root known, blocks assembled.
    pub fn finish(mut self) -> Result<Draft> {
        self.flush(self.block.len(), self.in_block)?;
        let root = self.tree.root();
        let marker = schema::sync_marker(schema::schema_bytes(), &root);
        for at in &self.markers {
            self.body[*at..*at + marker.len()].copy_from_slice(&marker);
        }
        self.counts.records = self.tree.len() as i64;
        Ok(Draft {
            body: self.body,
            codec: self.codec,
            root,
            offsets: Offsets { from: self.from, to: self.to },
            counts: self.counts,
            times: self.times,
        })
    }

    fn out_of_order(&self, offset: i64) -> Error {
        Error::bug(format!("offset {offset} was given to a segment that expects {}", self.to))
    }

    fn check(&self, raw: &RawRecord, decoded: &Decoded) -> Result<()> {
        let length = raw.value.as_ref().map_or(0, bytes::Bytes::len);
        match &decoded.withheld {
            None if length > MAX_VALUE => Err(Error::data(format!(
                "a value of {length} bytes must be withheld: at most {MAX_VALUE} can be sealed"
            ))),
            Some(withheld) if withheld.length < 0 => Err(Error::bug("the length of what is withheld is negative")),
            _ => Ok(()),
        }
    }

    /// Encodes one leaf at the end of the open block, closes the block before it if the leaf does not fit, hashes it.
    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let start = self.block.len();
        self.make_room();
        encode(&mut self.block);
        let length = self.block.len() - start;
        if self.uncompressed + length > MAX_SEGMENT {
            self.block.truncate(start);
            let (held, whole) = (self.uncompressed, MAX_SEGMENT);
            return Err(Error::data(format!(
                "a leaf of {length} bytes does not fit behind {held}: a segment has {whole}"
            )));
        }
        if start > 0 && self.block.len() > MAX_BLOCK {
            // on failure the new leaf is taken back: the block before it stays as it was
            self.flush(start, self.in_block).inspect_err(|_| self.block.truncate(start))?;
        }
        let leaf = &self.block[self.block.len() - length..];
        self.tree.push(Digest::leaf(leaf));
        self.in_block += 1;
        self.uncompressed += length;
        Ok(())
    }

    /// Takes room for a whole block where doubling would take it for two: an instance has as many open blocks as it
    /// reads partitions.
    fn make_room(&mut self) {
        let (length, capacity) = (self.block.len(), self.block.capacity());
        if capacity < ROOM && length + LEAF > capacity && 2 * capacity > ROOM {
            self.block.reserve_exact(ROOM - length);
        }
    }

    /// Compresses the first `length` bytes of the open block, which are `count` leaves, and keeps the rest open.
    fn flush(&mut self, length: usize, count: i64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            codec::compress(self.codec, self.level, &self.block[..length], scratch)?;
            self.body.reserve(scratch.len() + 36);
            put_long(&mut self.body, count);
            put_long(&mut self.body, scratch.len() as i64);
            self.body.extend_from_slice(scratch);
            // one large record must not hold its memory for the life of the thread
            scratch.shrink_to(2 * MAX_BLOCK);
            Ok::<_, Error>(())
        })?;
        self.markers.push(self.body.len());
        self.body.extend_from_slice(&[0; 16]);
        self.block.drain(..length);
        self.in_block = 0;
        // one large record must not hold its memory for the life of the segment
        self.block.shrink_to(ROOM);
        Ok(())
    }
}

fn widen(first: &mut Option<i64>, last: &mut Option<i64>, time: i64) {
    *first = Some(first.map_or(time, |t| t.min(time)));
    *last = Some(last.map_or(time, |t| t.max(time)));
}
