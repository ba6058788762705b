//! Compression of blocks, and decompression of hostile ones: never more bytes than the format allows.
//! Sources: Apache Avro 1.12 "Object Container Files", RFC 8878 (zstd), RFC 1951 (deflate).

use super::{Codec, MAX_BLOCK, MAX_SEGMENT};
use crate::error::{Error, Result};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;
use zstd::{bulk, stream::raw::Operation, zstd_safe};

/// A zstd frame that needs a larger window is refused.
const MAX_WINDOW: u64 = 8 << 20;

thread_local! {
    // a compression context is about a megabyte: one for each thread, not one for each open segment
    static ZSTD: RefCell<Option<(i32, bulk::Compressor<'static>)>> = const { RefCell::new(None) };
}

/// Replaces `out` by `data`, compressed.
pub fn compress(codec: Codec, level: i32, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::bug("a block cannot be compressed").caused_by(e);
    out.clear();
    match codec {
        Codec::Null => out.extend_from_slice(data),
        Codec::Zstandard => zstandard(level.clamp(1, 19), data, out).map_err(|e| failed(e.into()))?,
        Codec::Deflate => deflate(level.clamp(1, 9) as u32, data, out).map_err(|e| failed(e.into()))?,
        Codec::Snappy => {
            out.resize(snap::raw::max_compress_len(data.len()), 0);
            let written = snap::raw::Encoder::new().compress(data, out).map_err(|e| failed(e.into()))?;
            out.truncate(written);
            out.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
        }
    }
    Ok(())
}

/// One frame, with its content size, without checksum and dictionary: what libzstd writes when it is given all at once.
fn zstandard(level: i32, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    ZSTD.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(l, _)| *l != level) {
            *slot = Some((level, bulk::Compressor::new(level)?));
        }
        let Some((_, compressor)) = slot else { return Err(std::io::Error::other("no compressor")) };
        out.reserve(zstd_safe::compress_bound(data.len()));
        compressor.compress_to_buffer(data, out).map(drop)
    })
}

fn deflate(level: u32, data: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut state = Compress::new(Compression::new(level), false);
    loop {
        out.reserve((data.len() / 4).max(256));
        let rest = data.get(state.total_in() as usize..).unwrap_or_default();
        if state.compress_vec(rest, out, FlushCompress::Finish)? == Status::StreamEnd {
            return Ok(());
        }
    }
}

/// Decompresses the blocks of one segment and counts their bytes.
pub struct Decoder {
    codec: Codec,
    zstd: Option<bulk::Decompressor<'static>>,
    /// Bytes that the rest of the segment may still have.
    left: usize,
}

impl Decoder {
    /// For a segment of this codec.
    pub fn new(codec: Codec) -> Self {
        Self { codec, zstd: None, left: MAX_SEGMENT }
    }

    /// Replaces `out` by the leaves of a block of `count` records. The error says what is wrong with the block; `out`
    /// then
    /// holds what came out before the fault was met, which may be nothing, and proves nothing.
    pub fn decode(&mut self, data: &[u8], count: i64, out: &mut Vec<u8>) -> Result<(), String> {
        let cap = if count == 1 { self.left } else { self.left.min(MAX_BLOCK) };
        out.clear();
        let too_large = |length: usize| format!("it holds {length} bytes uncompressed, at most {cap} are allowed here");
        match self.codec {
            Codec::Null if data.len() > cap => return Err(too_large(data.len())),
            Codec::Null => out.extend_from_slice(data),
            Codec::Zstandard => {
                let content = zstd_content(data)?;
                let content = usize::try_from(content).ok().filter(|n| *n <= cap);
                self.zstandard(data, content.ok_or(format!("it holds over {cap} bytes uncompressed"))?, out)?;
            }
            Codec::Deflate => inflate(data, cap, out)?,
            Codec::Snappy => {
                let (data, crc) = data.split_last_chunk::<4>().ok_or("it is too short for snappy")?;
                let length = snap::raw::decompress_len(data).map_err(|e| e.to_string())?;
                if length > cap {
                    return Err(too_large(length));
                }
                out.resize(length, 0);
                snap::raw::Decoder::new().decompress(data, out).map_err(|e| e.to_string())?;
                if crc32fast::hash(out) != u32::from_be_bytes(*crc) {
                    return Err("its CRC-32 is wrong".into());
                }
            }
        }
        self.left = self.left.saturating_sub(out.len());
        Ok(())
    }

    fn zstandard(&mut self, data: &[u8], content: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let text = |e: std::io::Error| e.to_string();
        if zstd_safe::find_frame_compressed_size(data) != Ok(data.len()) {
            return Err("it is not one zstd frame from its first byte to its last".into());
        }
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(bulk::Decompressor::new().map_err(text)?),
        };
        out.reserve_exact(content);
        match zstd.decompress_to_buffer(data, out) {
            Ok(written) if written == content => Ok(()),
            Ok(_) => Err("its zstd frame lies about its content size".into()),
            Err(e) => {
                salvage(data, content, out);
                Err(e.to_string())
            }
        }
    }
}

/// What a broken zstd frame gives out before the fault: whole blocks of at most 128 KiB.
fn salvage(data: &[u8], content: usize, out: &mut Vec<u8>) {
    let Ok(mut state) = zstd::stream::raw::Decoder::new() else { return };
    out.clear();
    out.resize(content, 0);
    let (mut taken, mut given) = (0, 0);
    loop {
        // in small bites: a call that meets the fault does not say what it gave out before
        let bite = &data[taken..data.len().min(taken + 256)];
        match state.run_on_buffers(bite, &mut out[given..]) {
            Ok(status) if status.remaining > 0 && status.bytes_read + status.bytes_written > 0 => {
                taken += status.bytes_read;
                given += status.bytes_written;
            }
            _ => break,
        }
    }
    out.truncate(given);
}

/// The content size of a zstd frame of the form that the format allows (RFC 8878 §3.1.1.1).
fn zstd_content(data: &[u8]) -> Result<u64, String> {
    let short = "its zstd frame header is cut short";
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = data else { return Err("it is not a zstd frame".into()) };
    if descriptor & 0x1f != 0 {
        return Err("its zstd frame has a checksum, a dictionary or reserved bits".into());
    }
    let single = descriptor & 0x20 != 0;
    let (window, rest) =
        if single { (None, rest) } else { rest.split_first().map(|(w, r)| (Some(*w), r)).ok_or(short)? };
    let width = match descriptor >> 6 {
        0 if single => 1,
        0 => return Err("its zstd frame does not tell its content size".into()),
        flag => 1_usize << flag,
    };
    let mut size = [0; 8];
    size[..width].copy_from_slice(rest.get(..width).ok_or(short)?);
    let content = u64::from_le_bytes(size).saturating_add(if width == 2 { 256 } else { 0 });
    let needs = window.map_or(content, |w| {
        let base = 1_u64 << (10 + (w >> 3));
        base + base / 8 * u64::from(w & 7)
    });
    if needs > MAX_WINDOW {
        return Err(format!("its zstd frame needs a window of {needs} bytes, at most {MAX_WINDOW} are allowed"));
    }
    Ok(content)
}

fn inflate(data: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let mut state = Decompress::new(false);
    loop {
        // one byte more than allowed, so that a bomb is told from a block that just fits
        let room = (cap + 1 - out.len()).min((2 * out.len()).max(64 << 10));
        out.reserve_exact(room);
        let (taken, length) = (state.total_in(), out.len());
        let rest = data.get(taken as usize..).unwrap_or_default();
        let status = state.decompress_vec(rest, out, FlushDecompress::None).map_err(|e| e.to_string())?;
        if out.len() > cap {
            return Err(format!("it holds over {cap} bytes uncompressed"));
        }
        match status {
            Status::StreamEnd if state.total_in() == data.len() as u64 => return Ok(()),
            Status::StreamEnd => return Err("bytes follow the end of its deflate stream".into()),
            _ if state.total_in() == taken && out.len() == length => {
                return Err("its deflate stream does not end".into());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(codec: Codec, data: &[u8], count: i64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        Decoder::new(codec).decode(data, count, &mut out).map(|()| out)
    }

    fn compressed(codec: Codec, data: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        compress(codec, 3, data, &mut out).unwrap();
        out
    }

    #[test]
    fn blocks_read_back_under_their_limits() {
        let noise: Vec<u8> = (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for codec in Codec::ALL {
            for data in [&b"x"[..], &[b'a'; 300], &noise[..MAX_BLOCK]] {
                let block = compressed(codec, data);
                assert_eq!(decoded(codec, &block, 2).unwrap(), data);
                for bad in [&block[..block.len() - 1], &[&block[..], b"x"].concat(), b""] {
                    // an uncompressed block has no form of its own
                    assert!(codec == Codec::Null || decoded(codec, bad, 2).is_err(), "{codec:?}");
                }
            }
            let large = compressed(codec, &noise[..MAX_BLOCK + 1]);
            assert_eq!(decoded(codec, &large, 1).unwrap().len(), MAX_BLOCK + 1);
            assert!(decoded(codec, &large, 2).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn bombs_are_refused_before_they_unfold() {
        let zeros = vec![0; MAX_SEGMENT + 1];
        for codec in Codec::ALL {
            assert!(decoded(codec, &compressed(codec, &zeros), 1).is_err(), "{codec:?}");
        }
        let half = compressed(Codec::Deflate, &zeros[..MAX_SEGMENT / 2 + 1]);
        let mut decoder = Decoder::new(Codec::Deflate);
        assert!(decoder.decode(&half, 1, &mut Vec::new()).is_ok());
        assert!(decoder.decode(&half, 1, &mut Vec::new()).is_err(), "the second is over the segment's limit");
    }

    #[test]
    fn zstd_frames_of_another_form_are_refused() {
        let frame = |f: &dyn Fn(&mut zstd_safe::CCtx)| {
            let mut compressor = bulk::Compressor::new(3).unwrap();
            f(compressor.context_mut());
            compressor.compress(&[7; 5000]).unwrap()
        };
        use zstd_safe::CParameter::{ChecksumFlag, ContentSizeFlag};
        let set = |p| move |c: &mut zstd_safe::CCtx| assert!(c.set_parameter(p).is_ok());
        assert!(decoded(Codec::Zstandard, &frame(&|_| {}), 2).is_ok());
        for (bad, want) in [
            (frame(&set(ChecksumFlag(true))), "checksum"),
            (frame(&set(ContentSizeFlag(false))), "content size"),
            ([frame(&|_| {}), frame(&|_| {})].concat(), "one zstd frame"),
            ([frame(&|_| {}), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec()].concat(), "one zstd frame"),
            (b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec(), "not a zstd frame"),
            (b"\x28\xb5\x2f\xfd\x80\x70".to_vec(), "cut short"),
            (b"\x28\xb5\x2f\xfd\x80\x70\x01\0\0\0".to_vec(), "window"),
            (b"\x28\xb5\x2f\xfd\xa0\x01\0\0\x01".to_vec(), "window"),
        ] {
            let error = decoded(Codec::Zstandard, &bad, 2).unwrap_err();
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
