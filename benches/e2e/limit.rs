//! The limit: reading a topic and throwing it away.

use crate::topic::ends;
use clap::Args;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    bindings::{
        rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t, rd_kafka_queue_destroy,
        rd_kafka_queue_get_consumer,
    },
    consumer::{BaseConsumer, Consumer, StreamConsumer},
};

#[derive(Args)]
pub struct Which {
    pub brokers: String,
    pub topic: String,
    pub group: String,
}

impl Which {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            // a reader that is fast enough to meet a full queue would starve for a second
            .set("fetch.queue.backoff.ms", "10");
        config
    }

    fn goal(&self) -> u64 {
        ends(&self.brokers, &self.topic).iter().map(|(_, low, high)| (high - low) as u64).sum()
    }
}

/// With librdkafka's own batch call on the consumer's queue.
pub fn batch(which: &Which) {
    let consumer: BaseConsumer = which.config().create().expect("a consumer");
    // assigned by hand: rebalances travel on this queue as events, which the batch call drops
    let mut all = TopicPartitionList::new();
    for (partition, low, _) in ends(&which.brokers, &which.topic) {
        all.add_partition_offset(&which.topic, partition, Offset::Offset(low)).expect("an offset");
    }
    consumer.assign(&all).expect("an assignment");
    let (goal, mut count, mut bytes) = (which.goal(), 0_u64, 0_u64);
    let mut batch: Vec<*mut rd_kafka_message_t> = vec![std::ptr::null_mut(); 4096];
    // SAFETY: the consumer outlives its queue, which is given back below.
    let queue = unsafe { rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    while count < goal {
        // SAFETY: there is room for as many messages as are asked for; each that is filled in is read, and destroyed
        // once.
        unsafe {
            let filled = rd_kafka_consume_batch_queue(queue, 100, batch.as_mut_ptr(), batch.len());
            for message in batch.iter().take(usize::try_from(filled).unwrap_or(0)) {
                if (**message).err as i32 == 0 {
                    count += 1;
                    bytes += (**message).len as u64;
                }
                rd_kafka_message_destroy(*message);
            }
        }
    }
    // SAFETY: it was taken above and is not used again.
    unsafe { rd_kafka_queue_destroy(queue) };
    println!("{count} records, {bytes} bytes");
}

/// With rust-rdkafka's stream of messages.
pub fn stream(which: &Which) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let consumer: StreamConsumer = which.config().create().expect("a consumer");
        consumer.subscribe(&[&which.topic]).expect("a topic");
        let (goal, mut count, mut bytes) = (which.goal(), 0_u64, 0_u64);
        while count < goal {
            if let Ok(message) = consumer.recv().await {
                count += 1;
                bytes += message.payload().map_or(0, <[u8]>::len) as u64;
            }
        }
        println!("{count} records, {bytes} bytes");
    });
}
