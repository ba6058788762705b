//! Requests that the `rdkafka` crate does not wrap: offsets of partitions under either isolation level, topic ids.

use super::{Entry, Queue, entry, millis, text};
use crate::error::{Error, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rdkafka::{
    TopicPartitionList,
    bindings::*,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use std::{
    ffi::CString,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// The first that the broker has.
    Earliest,
    /// The one after the last: the last stable offset under `committed`, else the high watermark.
    Latest,
    /// The first whose timestamp is at or after this one, milliseconds, not negative.
    At(i64),
}

/// What Kafka says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id as Kafka prints it: 22 characters. `None` for a broker that has none.
    pub id: Option<String>,
    /// How many partitions it has.
    pub partitions: i64,
}

/// An error that the cluster or librdkafka gave: its code and words.
pub type Failure = (i32, String);

/// Where answers arrive. One request at a time.
pub struct Asker<C: ConsumerContext> {
    // before the consumer: fields are dropped in order, and the queue must not outlive its client
    queue: Queue,
    consumer: Arc<BaseConsumer<C>>,
}

/// An answer, ours to destroy.
struct Event(NonNull<rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and destroyed once
        unsafe { rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// Options of a request, ours to destroy.
struct Options(*mut rd_kafka_AdminOptions_t);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours and destroyed once
        unsafe { rd_kafka_AdminOptions_destroy(self.0) }
    }
}

impl<C: ConsumerContext> Asker<C> {
    /// One without a request under way.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self> {
        // SAFETY: the client lives, `consumer` holds it
        let queue = Queue::own(unsafe { rd_kafka_queue_new(consumer.client().native_ptr()) });
        let queue = queue.ok_or_else(|| Error::bug("librdkafka made no queue"))?;
        Ok(Self { queue, consumer })
    }

    fn options(&self, of: rd_kafka_admin_op_t, timeout: Duration) -> Options {
        let mut words = [0; 128];
        // SAFETY: the client lives; the error text has the length that is told. A timeout out of range leaves the
        // default
        unsafe {
            let options = rd_kafka_AdminOptions_new(self.consumer.client().native_ptr(), of);
            let size = words.len();
            rd_kafka_AdminOptions_set_request_timeout(options, millis(timeout), words.as_mut_ptr(), size);
            Options(options)
        }
    }

    /// Asks for offsets of partitions; [`Asker::offsets`] gives the answer.
    pub fn ask_offsets(&self, partitions: &[(&str, i32, Spec)], committed: bool, timeout: Duration) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition, spec) in partitions {
            list.add_partition(topic, *partition);
            let name =
                CString::new(*topic).map_err(|_| Error::data(format!("{topic:?} is not the name of a topic")))?;
            let offset = match spec {
                Spec::Earliest => rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
                Spec::Latest => rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
                Spec::At(time) => (*time).max(0),
            };
            // SAFETY: the list is ours
            unsafe { rd_kafka_topic_partition_list_set_offset(list.ptr(), name.as_ptr(), *partition, offset) };
        }
        let options = self.options(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
        let isolation = match committed {
            true => rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            false => rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        // SAFETY: client, list, options and queue live; the request copies list and options
        unsafe {
            let error = rd_kafka_AdminOptions_set_isolation_level(options.0, isolation);
            if !error.is_null() {
                rd_kafka_error_destroy(error);
                return Err(Error::bug("librdkafka refused an isolation level"));
            }
            let client = self.consumer.client().native_ptr();
            rd_kafka_ListOffsets(client, list.ptr(), options.0, self.queue.0.as_ptr());
        }
        Ok(())
    }

    /// The answer to [`Asker::ask_offsets`], if it comes within `wait`.
    pub fn offsets(&self, wait: Duration) -> Option<Result<Vec<Entry>, Failure>> {
        let event = self.answer(wait)?;
        let found = |event: &Event| {
            let mut count = 0;
            // SAFETY: the event is of this type or the result is null; infos and their parts live as long as the event
            unsafe {
                let result = rd_kafka_event_ListOffsets_result(event.0.as_ptr());
                if result.is_null() {
                    return None;
                }
                let infos = rd_kafka_ListOffsets_result_infos(result, &mut count);
                let infos = if infos.is_null() { &[] } else { slice::from_raw_parts(infos, count) };
                let partition = |info: &_| entry(rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
                Some(infos.iter().map(partition).collect())
            }
        };
        Some(event.and_then(|event| found(&event).ok_or_else(wrong_answer)))
    }

    /// Id and number of partitions of a topic, as this broker knows them. (By default librdkafka asks the controller
    /// and waits until it knows which one that is; every broker knows its topics.)
    pub fn describe(&self, topic: &str, broker: i32, timeout: Duration) -> Result<Topic, Failure> {
        let name = CString::new(topic).map_err(|_| invalid_topic())?;
        let options = self.options(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        let mut words = [0; 128];
        // SAFETY: the options live; the error text has the length that is told. A broker that is refused leaves the
        // default
        unsafe { rd_kafka_AdminOptions_set_broker(options.0, broker, words.as_mut_ptr(), words.len()) };
        let mut names = [name.as_ptr()];
        // SAFETY: client, names, options and queue live; the request copies them
        unsafe {
            let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let client = self.consumer.client().native_ptr();
            rd_kafka_DescribeTopics(client, topics, options.0, self.queue.0.as_ptr());
            rd_kafka_TopicCollection_destroy(topics);
        }
        // the request ends by its own timeout; the wait is longer so that its answer is not left in the queue
        let event = self.answer(timeout + Duration::from_secs(5)).ok_or_else(no_answer)??;
        let mut count = 0;
        // SAFETY: the event is of this type or the result is null; descriptions and their parts live as long as the
        // event
        unsafe {
            let result = rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
            let topics = match result.is_null() {
                true => ptr::null_mut(),
                false => rd_kafka_DescribeTopics_result_topics(result, &mut count),
            };
            if topics.is_null() || count == 0 {
                return Err(wrong_answer());
            }
            let error = rd_kafka_TopicDescription_error(*topics);
            if !error.is_null() {
                let code = rd_kafka_error_code(error) as i32;
                if code != 0 {
                    return Err((code, text(rd_kafka_error_string(error)).into_owned()));
                }
            }
            let mut partitions = 0;
            rd_kafka_TopicDescription_partitions(*topics, &mut partitions);
            let id = rd_kafka_TopicDescription_topic_id(*topics);
            let id = (!id.is_null())
                .then(|| (rd_kafka_Uuid_most_significant_bits(id), rd_kafka_Uuid_least_significant_bits(id)));
            Ok(Topic { id: id.and_then(uuid), partitions: partitions as i64 })
        }
    }

    /// What a topic's setting is; `None` if there is no such setting. Needs the right DESCRIBE_CONFIGS.
    pub fn topic_config(&self, topic: &str, setting: &str, timeout: Duration) -> Result<Option<String>, Failure> {
        let name = CString::new(topic).map_err(|_| invalid_topic())?;
        let options = self.options(rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout);
        // SAFETY: the name is a C string; client, resource, options and queue live; the request copies resource and
        // options
        unsafe {
            let of = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resources = [rd_kafka_ConfigResource_new(of, name.as_ptr())];
            if resources[0].is_null() {
                return Err(invalid_topic());
            }
            let client = self.consumer.client().native_ptr();
            rd_kafka_DescribeConfigs(client, resources.as_mut_ptr(), 1, options.0, self.queue.0.as_ptr());
            rd_kafka_ConfigResource_destroy(resources[0]);
        }
        let event = self.answer(timeout + Duration::from_secs(5)).ok_or_else(no_answer)??;
        let mut count = 0;
        // SAFETY: the event is of this type or the result is null; resources, their settings and the texts of these
        // live as long as the event
        unsafe {
            let result = rd_kafka_event_DescribeConfigs_result(event.0.as_ptr());
            let resources = match result.is_null() {
                true => ptr::null_mut(),
                false => rd_kafka_DescribeConfigs_result_resources(result, &mut count),
            };
            if resources.is_null() || count == 0 {
                return Err(wrong_answer());
            }
            let code = rd_kafka_ConfigResource_error(*resources) as i32;
            if code != 0 {
                return Err((code, text(rd_kafka_ConfigResource_error_string(*resources)).into_owned()));
            }
            let mut entries = 0;
            let first = rd_kafka_ConfigResource_configs(*resources, &mut entries);
            let entries = if first.is_null() { &[] } else { slice::from_raw_parts(first, entries) };
            let found = entries.iter().find(|entry| text(rd_kafka_ConfigEntry_name(**entry)) == setting);
            Ok(found.map(|entry| text(rd_kafka_ConfigEntry_value(*entry)).into_owned()))
        }
    }

    /// The next answer. An error is one of the whole request.
    fn answer(&self, wait: Duration) -> Option<Result<Event, Failure>> {
        // SAFETY: the queue lives; an event that is returned is ours
        let event = Event(NonNull::new(unsafe { rd_kafka_queue_poll(self.queue.0.as_ptr(), millis(wait)) })?);
        // SAFETY: the event lives
        let code = unsafe { rd_kafka_event_error(event.0.as_ptr()) } as i32;
        if code == 0 {
            return Some(Ok(event));
        }
        // SAFETY: the event lives, and its text with it
        Some(Err((code, unsafe { text(rd_kafka_event_error_string(event.0.as_ptr())) }.into_owned())))
    }
}

/// A UUID as Kafka prints it: URL-safe base64 without padding. All zeros means that the broker has none.
fn uuid((high, low): (i64, i64)) -> Option<String> {
    let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
    ((high, low) != (0, 0)).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

fn wrong_answer() -> Failure {
    (rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG as i32, "the answer is not one to the question".into())
}

fn no_answer() -> Failure {
    (rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32, "no answer in time".into())
}

fn invalid_topic() -> Failure {
    (rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as i32, "not the name of a topic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_printed_as_kafka_does() {
        // org.apache.kafka.common.Uuid: METADATA_TOPIC_ID is (0, 1) and prints as below
        assert_eq!(uuid((0, 1)).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        assert_eq!(uuid((-1, -1)).as_deref(), Some("_____________________w"));
        assert_eq!(uuid((0, 0)), None);
    }
}
