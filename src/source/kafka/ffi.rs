//! The only unsafe code of the crate: what librdkafka can do and the `rdkafka` crate does not wrap.
//!
//! Records are read in batches from one queue of our own, headers of any bytes can be read and written, and `admin`
//! asks for topic ids and offsets. Everything that leaves this module is safe to use.
#![allow(unsafe_code)]

pub mod admin;
mod headers;

pub use headers::{borrowed_headers, owned_headers};

use crate::{
    error::{Error, Result},
    record::TimestampType,
};
use rdkafka::{
    TopicPartitionList,
    bindings::*,
    client::NativeClient,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    sync::Arc,
    time::Duration,
};

/// A number for librdkafka's timeouts: they are C ints of milliseconds, and a negative one means "for ever".
fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

/// The text of a C string that librdkafka owns.
///
/// # Safety
/// `text` is null or points to a C string that lives as long as `'a`.
unsafe fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: by the contract of this function
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// librdkafka's text for an error code, also for codes that a newer broker made up.
pub fn error_text(code: i32) -> String {
    match rd_kafka_resp_err_t::try_from(code) {
        // SAFETY: rd_kafka_err2str returns a string that is never freed
        Ok(known) => unsafe { text(rd_kafka_err2str(known)) }.into_owned(),
        Err(_) => format!("error code {code}"),
    }
}

/// An owned reference to one of librdkafka's queues.
struct Queue(NonNull<rd_kafka_queue_t>);

// SAFETY: librdkafka's queues lock themselves; every function used here may be called from any thread
unsafe impl Send for Queue {}
// SAFETY: as above
unsafe impl Sync for Queue {}

impl Queue {
    /// Takes over the reference that `ptr` is, if it is one.
    fn own(ptr: *mut rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and given up once
        unsafe { rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// The queue to which all assigned partitions deliver.
///
/// It is apart from the consumer's own queue, which carries rebalances and errors and is polled by the `rdkafka` crate
/// alone. So the group is served while nobody reads records, and librdkafka's limits of prefetched records hold for
/// all partitions together (with a queue for each they would hold for each).
pub struct DataQueue<C: ConsumerContext> {
    // before the consumer: fields are dropped in order, and queues must not outlive their client
    queue: Queue,
    calls: Queue,
    consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext> DataQueue<C> {
    /// A queue without partitions.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives, `consumer` holds it
        let queue = Queue::own(unsafe { rd_kafka_queue_new(client) });
        // SAFETY: as above
        let calls = Queue::own(unsafe { rd_kafka_queue_get_consumer(client) });
        let none = || Error::bug("librdkafka made no queue");
        Ok(Self { queue: queue.ok_or_else(none)?, calls: calls.ok_or_else(none)?, consumer })
    }

    /// How many events (rebalances, errors, log lines) wait in the consumer's own queue.
    pub fn calls_waiting(&self) -> usize {
        // SAFETY: the queue lives
        unsafe { rd_kafka_queue_length(self.calls.0.as_ptr()) }
    }

    /// From now on records and errors of this partition come here. librdkafka forgets it whenever it stops fetching.
    pub fn forward(&self, topic: &str, partition: i32) -> Result<()> {
        let name = CString::new(topic).map_err(|_| Error::data(format!("{topic:?} is not the name of a topic")))?;
        // SAFETY: the client lives, the name is a C string
        let own =
            unsafe { rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), name.as_ptr(), partition) };
        let own = Queue::own(own).ok_or_else(|| Error::bug(format!("{topic}/{partition} has no queue")))?;
        // SAFETY: both queues live
        unsafe { rd_kafka_queue_forward(own.0.as_ptr(), self.queue.0.as_ptr()) };
        Ok(())
    }

    /// Takes what is there, at most `buffer.capacity()` messages; if there is nothing, waits for the first one.
    pub fn take<'a>(&'a self, buffer: &'a mut Buffer, wait: Duration) -> Messages<'a> {
        debug_assert!(buffer.taken.is_empty());
        let queue = self.queue.0.as_ptr();
        // rd_kafka_consume_batch_queue would wait until the batch is full: so wait for one, then take the rest
        // SAFETY: the queue lives; a message that is returned is ours
        let first = unsafe { rd_kafka_consume_queue(queue, millis(wait)) };
        if !first.is_null() {
            buffer.taken.push(first);
            let room = buffer.taken.spare_capacity_mut();
            // SAFETY: `room` has space for as many pointers as it says. The return value counts those that were written
            unsafe {
                let count = rd_kafka_consume_batch_queue(queue, 0, room.as_mut_ptr().cast(), room.len());
                buffer.taken.set_len(1 + usize::try_from(count).unwrap_or(0));
            }
        }
        Messages { buffer }
    }
}

/// Space for the messages of one call of [`DataQueue::take`].
pub struct Buffer {
    taken: Vec<*mut rd_kafka_message_t>,
}

// SAFETY: it is empty whenever nobody borrows it
unsafe impl Send for Buffer {}

impl Buffer {
    /// Space for `capacity` messages, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { taken: Vec::with_capacity(capacity.max(1)) }
    }
}

/// Messages that were taken; given back to librdkafka when dropped.
pub struct Messages<'a> {
    buffer: &'a mut Buffer,
}

impl Messages<'_> {
    /// The messages, of each partition in the order of their offsets.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        self.buffer.taken.iter().map(|raw| Message { raw: *raw, life: PhantomData })
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for raw in self.buffer.taken.drain(..) {
            // SAFETY: the message is ours and destroyed once; borrows of it have ended
            unsafe { rd_kafka_message_destroy(raw) }
        }
    }
}

/// A record, or an error of a partition, in librdkafka's memory.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: *mut rd_kafka_message_t,
    life: PhantomData<&'a ()>,
}

impl<'a> Message<'a> {
    fn bytes(self, data: *mut c_void, length: usize) -> Option<&'a [u8]> {
        // SAFETY: librdkafka gives null for an absent part, else a pointer to `length` bytes that live as long as the
        // message
        (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), length) })
    }

    /// Which topic, as a number: the same for all messages of a topic while the assignment lasts.
    pub fn topic_handle(self) -> usize {
        // SAFETY: the message lives
        unsafe { (*self.raw).rkt as usize }
    }

    /// Topic name; empty for errors that belong to none.
    pub fn topic(self) -> std::borrow::Cow<'a, str> {
        // SAFETY: the message lives; its topic object, if it has one, lives as long
        unsafe {
            let topic = (*self.raw).rkt;
            if topic.is_null() { "".into() } else { text(rd_kafka_topic_name(topic)) }
        }
    }

    /// Partition number.
    pub fn partition(self) -> i32 {
        // SAFETY: the message lives
        unsafe { (*self.raw).partition }
    }

    /// Offset of the record, or where the error happened.
    pub fn offset(self) -> i64 {
        // SAFETY: the message lives
        unsafe { (*self.raw).offset }
    }

    /// If this is no record but an error: its code and librdkafka's words.
    pub fn error(self) -> Option<(i32, String)> {
        // SAFETY: the message lives. The code is read as a number: a broker may send one that the enum does not know
        let code = unsafe { ptr::addr_of!((*self.raw).err).cast::<i32>().read() };
        // SAFETY: the message lives
        (code != 0).then(|| (code, unsafe { text(rd_kafka_message_errstr(self.raw)) }.into_owned()))
    }

    /// Key.
    pub fn key(self) -> Option<&'a [u8]> {
        // SAFETY: the message lives
        unsafe { self.bytes((*self.raw).key, (*self.raw).key_len) }
    }

    /// Value.
    pub fn value(self) -> Option<&'a [u8]> {
        // SAFETY: the message lives
        unsafe { self.bytes((*self.raw).payload, (*self.raw).len) }
    }

    /// Milliseconds as Kafka gave them, and what they mean.
    pub fn timestamp(self) -> (i64, TimestampType) {
        let mut kind = MaybeUninit::<i32>::zeroed();
        // SAFETY: the message lives; the enum that is written is an int
        let (time, kind) =
            unsafe { (rd_kafka_message_timestamp(self.raw, kind.as_mut_ptr().cast()), kind.assume_init()) };
        let kind = match kind {
            1 => TimestampType::CreateTime,
            2 => TimestampType::LogAppendTime,
            _ => TimestampType::None,
        };
        (time, kind)
    }

    /// The epoch of the leader that appended the record.
    pub fn leader_epoch(self) -> Option<i32> {
        // SAFETY: the message lives
        Some(unsafe { rd_kafka_message_leader_epoch(self.raw) }).filter(|epoch| *epoch >= 0)
    }

    /// Calls `each` with name and value of every header, in their order.
    pub fn for_each_header(self, each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut found = ptr::null_mut();
        // SAFETY: the message lives and owns the headers that it gives
        let code = unsafe { rd_kafka_message_headers(self.raw, &mut found) };
        if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !found.is_null() {
            // SAFETY: the headers live as long as the message
            unsafe { headers::for_each(found, each) }
        }
    }
}

/// One entry of a list of partitions, read without the panics of the `rdkafka` crate: metadata may be any bytes, and a
/// broker may send error codes that its enum does not know.
pub struct Entry {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset; negative if there is none.
    pub offset: i64,
    /// Error code, 0 if there is none.
    pub error: i32,
    /// Metadata; bytes that are not UTF-8 are replaced.
    pub metadata: String,
    /// Leader epoch of the record before the offset.
    pub leader_epoch: Option<i32>,
}

/// The entries of a list.
pub fn entries(list: &TopicPartitionList) -> Vec<Entry> {
    // SAFETY: the list is valid while it is borrowed
    unsafe { raw_entries(list.ptr()) }
}

/// # Safety
/// `list` is null or a valid list.
unsafe fn raw_entries(list: *const rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list is valid and has `cnt` elements
    unsafe { (0..(*list).cnt.max(0) as usize).map(|at| entry((*list).elems.add(at))).collect() }
}

/// # Safety
/// `raw` is a valid element.
unsafe fn entry(raw: *const rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: the element is valid: its topic is a C string, its metadata null or as long as it says
    unsafe {
        let metadata = match (*raw).metadata.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts((*raw).metadata.cast::<u8>(), (*raw).metadata_size),
        };
        Entry {
            topic: text((*raw).topic).into_owned(),
            partition: (*raw).partition,
            offset: (*raw).offset,
            error: ptr::addr_of!((*raw).err).cast::<i32>().read(),
            metadata: String::from_utf8_lossy(metadata).into_owned(),
            leader_epoch: Some(rd_kafka_topic_partition_get_leader_epoch(raw)).filter(|epoch| *epoch >= 0),
        }
    }
}

/// Sets the leader epoch of an entry, for seeks and commits that let the broker notice a truncated log (KIP-320).
pub fn set_leader_epoch(list: &mut TopicPartitionList, topic: &str, partition: i32, epoch: i32) {
    let Ok(name) = CString::new(topic) else { return };
    // SAFETY: the list is valid and borrowed for us alone; an element that is found is part of it
    unsafe {
        let element = rd_kafka_topic_partition_list_find(list.ptr(), name.as_ptr(), partition);
        if !element.is_null() {
            rd_kafka_topic_partition_set_leader_epoch(element, epoch);
        }
    }
}

/// Where the application stands in a partition, past transaction markers: they are consumed but not delivered.
/// `None` if nothing was consumed since it was assigned or sought.
pub fn position(client: &NativeClient, topic: &str, partition: i32) -> Option<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    // SAFETY: client and list live
    let code = unsafe { rd_kafka_position(client.ptr(), list.ptr()) };
    let entry = entries(&list).pop()?;
    (code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && entry.error == 0 && entry.offset >= 0)
        .then_some(entry.offset)
}
