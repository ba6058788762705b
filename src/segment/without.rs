//! A segment without one of its records: what somebody who can write, but not sign, could make of it. For the demo and
//! for
//! tests of verification; nothing else in authseal makes a segment out of a segment.

use super::{
    codec,
    frame::{Blocks, Container},
    leaf,
    schema::Plan,
};
use crate::avro::{Cursor, put_long};

/// The object with the leaf at `offset` left out: its block is compressed anew, everything else is as it was. `None` if
/// there
/// is no such leaf, or the object cannot be read.
pub fn without_record(object: &[u8], offset: i64) -> Option<Vec<u8>> {
    let container = Container::parse(object).ok()?;
    let (codec, body, marker) = (container.codec, container.body, container.marker);
    let plan = Plan::of(container.schema).ok()?;
    let mut out = object[..object.len() - body.len()].to_vec();
    let (mut blocks, mut decoder, mut found) = (Blocks::new(body, marker), codec::Decoder::new(codec), false);
    let mut plain = Vec::new();
    loop {
        let from = blocks.position();
        let Some(block) = blocks.next().ok()? else { break };
        plain.clear();
        decoder.decode(block.data, block.count, &mut plain).ok()?;
        let Some((start, end)) = span(&plan, &plain, offset) else {
            out.extend_from_slice(&body[from..blocks.position()]);
            continue;
        };
        found = true;
        plain.drain(start..end);
        if block.count > 1 {
            let mut data = Vec::new();
            codec::compress(codec, 1, &plain, &mut data).ok()?;
            put_long(&mut out, block.count - 1);
            put_long(&mut out, data.len() as i64);
            out.extend_from_slice(&data);
            out.extend_from_slice(&marker);
        }
    }
    found.then_some(out)
}

/// Where in the bytes of a block the leaf at `offset` lies.
fn span(plan: &Plan, plain: &[u8], offset: i64) -> Option<(usize, usize)> {
    let mut cursor = Cursor::strict(plain);
    while !cursor.rest().is_empty() {
        let start = cursor.position();
        let at = cursor.clone().long().ok()?;
        leaf::check(plan, &mut cursor).ok()?;
        if at == offset {
            return Some((start, cursor.position()));
        }
    }
    None
}
