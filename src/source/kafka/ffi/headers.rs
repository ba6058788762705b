//! Headers of any bytes. The `rdkafka` crate takes and gives names as text and panics on the rest.

use crate::record::Header;
use bytes::Bytes;
use rdkafka::{
    bindings::*,
    message::{BorrowedHeaders, OwnedHeaders},
};
use std::{
    ffi::{CStr, c_char, c_void},
    ptr,
    sync::LazyLock,
};

/// The head of librdkafka's `rd_kafka_header_t`: name and value follow in the same allocation. Its API gives a name
/// as a C string without its length, though names may hold zero bytes; the length is read from here.
#[repr(C)]
struct Head {
    serialized: usize,
    value_size: usize,
    name_size: usize,
    value: *const c_char,
}

/// Whether [`Head`] is what this librdkafka has. If another version lays it out differently, names end at a zero byte.
static LAYOUT_KNOWN: LazyLock<bool> = LazyLock::new(|| {
    let probes: [(&[u8], Option<&[u8]>); 4] =
        [(b"a\0bc", Some(b"123456")), (b"\0\0", None), (b"", Some(b"")), (b"plain name", None)];
    let headers = Raw::new(&probes);
    let mut lengths = Vec::new();
    // SAFETY: the headers live. Reading a head that is laid out differently stays within the allocation, because every
    // name is followed by a zero byte and preceded by at least the two sizes that the API has had since headers exist
    unsafe { each_raw(headers.0, |name, value, size| lengths.push((name_size(name), value, size))) };
    let known = lengths.iter().zip(&probes).all(|((name, value, size), probe)| {
        *name == probe.0.len() && value.is_null() == probe.1.is_none() && *size == probe.1.map_or(0, <[u8]>::len)
    });
    if !known || lengths.len() != probes.len() {
        tracing::warn!("this librdkafka lays out headers differently: header names are cut at their first zero byte");
    }
    known && lengths.len() == probes.len()
});

/// # Safety
/// `name` is the name of a header in an allocation that begins with [`Head`].
unsafe fn name_size(name: *const c_char) -> usize {
    // SAFETY: by the contract of this function. The head lies right before the name
    unsafe { ptr::read_unaligned(name.cast::<u8>().sub(size_of::<Head>()).cast::<Head>()).name_size }
}

/// # Safety
/// `headers` is valid while this runs.
unsafe fn each_raw(headers: *const rd_kafka_headers_t, mut each: impl FnMut(*const c_char, *const c_void, usize)) {
    for at in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers are valid; the three places are written if there is a header at this index
        let code = unsafe { rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut size) };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return;
        }
        each(name, value, size);
    }
}

/// Calls `each` with name and value of every header.
///
/// # Safety
/// `headers` is valid while this runs.
pub unsafe fn for_each(headers: *const rd_kafka_headers_t, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
    let known = *LAYOUT_KNOWN;
    // SAFETY: the headers are valid; names are zero-terminated, values as long as told; the layout was probed
    unsafe {
        each_raw(headers, |name, value, size| {
            let length = if known { name_size(name) } else { CStr::from_ptr(name).count_bytes() };
            let name = std::slice::from_raw_parts(name.cast::<u8>(), length);
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            each(name, value);
        });
    }
}

/// Headers that this module owns.
struct Raw(*mut rd_kafka_headers_t);

impl Raw {
    fn new(headers: &[(&[u8], Option<&[u8]>)]) -> Self {
        // SAFETY: librdkafka aborts when out of memory: the pointer is valid
        let raw = Self(unsafe { rd_kafka_headers_new(headers.len()) });
        for (name, value) in headers {
            let (data, size) = value.map_or((ptr::null(), 0), |v| (v.as_ptr(), v.len()));
            // SAFETY: the headers are ours and writable; name and value are copied, a null value is a null pointer
            unsafe {
                rd_kafka_header_add(raw.0, name.as_ptr().cast(), name.len() as isize, data.cast(), size as isize);
            }
        }
        raw
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the headers are ours and destroyed once
        unsafe { rd_kafka_headers_destroy(self.0) }
    }
}

/// The headers of a message that the crate read, byte for byte.
pub fn borrowed_headers(headers: &BorrowedHeaders) -> Vec<Header> {
    let mut found = Vec::new();
    // SAFETY: `BorrowedHeaders` is a type without size that stands for the pointer to librdkafka's headers, which live
    // as long as the borrow
    unsafe {
        for_each(ptr::from_ref(headers).cast(), |key, value| {
            found.push(Header { key: Bytes::copy_from_slice(key), value: value.map(Bytes::copy_from_slice) });
        });
    }
    found
}

/// Headers to send, byte for byte.
pub fn owned_headers(headers: &[Header]) -> OwnedHeaders {
    let pairs: Vec<_> = headers.iter().map(|h| (&h.key[..], h.value.as_deref())).collect();
    let raw = Raw::new(&pairs);
    // SAFETY: `BorrowedHeaders` is a type without size that stands for the pointer to librdkafka's headers: the crate
    // itself makes it so, and `detach` copies what is behind the pointer
    unsafe { &*raw.0.cast::<BorrowedHeaders>() }.detach()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_of_this_librdkafka_is_known() {
        assert!(*LAYOUT_KNOWN);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(headers: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let headers: Vec<_> = headers
                .into_iter()
                .map(|(key, value)| Header { key: key.into(), value: value.map(Bytes::from) })
                .collect();
            prop_assert_eq!(borrowed_headers(owned_headers(&headers).as_borrowed()), headers);
        }
    }
}
