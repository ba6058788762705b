//! Publishes to Kafka topics: acknowledged by all replicas, idempotent, bounded in memory and time.

use super::{Outgoing, Publisher, Stream, letter::Replay};
use crate::{
    error::{Error, Kind, Result},
    position::is_kafka_name,
    record::Header,
    source::kafka::{
        context::{Logs, lock, stats},
        faults,
        ffi::owned_headers,
        oauth::Tokens,
        properties::{PRODUCER, Properties, Scrubber, configure, creation_error, shown},
    },
};
use futures_util::future::BoxFuture;
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaRespErr as Code,
};
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::oneshot;

/// How to reach Kafka and where to publish.
#[derive(Clone)]
pub struct PublisherSettings {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub brokers: String,
    /// Topic of the alerts.
    pub alerts: String,
    /// Topic of the dead letters; without one they cannot be published.
    pub dead_letters: Option<String>,
    /// Topic of the findings of rules in mode shadow; without one they cannot be published.
    pub shadow: Option<String>,
    /// Topic of the log's checkpoints; without one they cannot be published.
    pub checkpoints: Option<String>,
    /// Any other property of librdkafka: TLS, SASL, timeouts, sizes.
    pub properties: Properties,
}

impl fmt::Debug for PublisherSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherSettings")
            .field("brokers", &self.brokers)
            .field("alerts", &self.alerts)
            .field("dead_letters", &self.dead_letters)
            .field("shadow", &self.shadow)
            .field("checkpoints", &self.checkpoints)
            .field("properties", &shown(&self.properties))
            .finish()
    }
}

/// What is set unless the user says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "authseal"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // how long a message may wait for its acknowledgement, retries included
    ("message.timeout.ms", "30000"),
    // how long a topic may stay unknown before its messages fail
    ("topic.metadata.propagation.max.ms", "10000"),
    // the broker says what is too large. It says it of whole batches, and librdkafka does not split them: small ones,
    // so that a message is not refused for its neighbours. A larger message makes a batch of its own
    ("message.max.bytes", "20971520"),
    ("batch.size", "131072"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    // the same key goes to the same partition as with Java's producers
    ("partitioner", "murmur2_random"),
];

type Producer = ThreadedProducer<Context>;
/// What the broker says of a message.
type Answer = oneshot::Receiver<Result<()>>;

/// A producer of alerts and dead letters.
pub struct KafkaPublisher {
    settings: PublisherSettings,
    config: ClientConfig,
    scrubber: Scrubber,
    producer: Mutex<Arc<Producer>>,
}

impl KafkaPublisher {
    /// Makes a producer. Returns at once: brokers that cannot be reached show as messages that time out.
    pub fn connect(settings: PublisherSettings) -> Result<Self> {
        let others = settings.dead_letters.iter().chain(&settings.shadow).chain(&settings.checkpoints);
        for topic in others.chain([&settings.alerts]) {
            if !is_kafka_name(topic) {
                return Err(Error::config(format!(
                    "{topic:?} is not the name of a topic: 1 to 249 of letters, digits, full stop, underscore and \
                         hyphen"
                )));
            }
        }
        let scrubber = Scrubber::new(&settings.properties);
        let config = configure(&settings.brokers, DEFAULTS, &settings.properties, PRODUCER)?;
        let producer = Mutex::new(Arc::new(start(&config, &scrubber, &settings.properties)?));
        Ok(Self { settings, config, scrubber, producer })
    }

    fn topic(&self, stream: Stream) -> Result<&str> {
        match stream {
            Stream::Alerts => Ok(&self.settings.alerts),
            Stream::DeadLetters => self.settings.dead_letters.as_deref().ok_or_else(|| {
                Error::config("there is no topic for dead letters: configure one, or none will be published")
            }),
            Stream::Shadow => self.settings.shadow.as_deref().ok_or_else(|| {
                Error::config("there is no topic for shadow findings: set alerts.shadow_topic, or none is published")
            }),
            Stream::Checkpoints => self.settings.checkpoints.as_deref().ok_or_else(|| {
                Error::config("there is no topic for checkpoints: set log.checkpoint_topic, or none is published")
            }),
        }
    }

    /// The producer; a new one if the old one came to an error from which librdkafka does not recover.
    fn producer(&self) -> Result<Arc<Producer>> {
        let mut current = lock(&self.producer);
        if current.client().context().fatal.load(Ordering::Relaxed) {
            let old = std::mem::replace(
                &mut *current,
                Arc::new(start(&self.config, &self.scrubber, &self.settings.properties)?),
            );
            tracing::warn!("the Kafka producer came to a fatal error and is started anew");
            // dropping it waits for what was under way, whose senders are told to send again
            // (without a thread to be had, here)
            let _ = std::thread::Builder::new().spawn(move || drop(old));
        }
        Ok(current.clone())
    }

    fn send(&self, message: &Outgoing) -> Result<Answer> {
        let (key, value) = (message.key.as_deref(), message.value.as_deref());
        self.send_to(self.topic(message.stream)?, None, key, value, &message.headers)
    }

    /// Publishes a record again, to the partition from which it was read. Resolves as [`Publisher::publish`] does.
    pub fn replay(&self, message: &Replay) -> BoxFuture<'static, Result<()>> {
        let (key, value) = (message.key.as_deref(), message.value.as_deref());
        acknowledged(self.send_to(&message.topic, message.partition, key, value, &message.headers))
    }

    fn send_to(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(reply));
        (record.partition, record.key, record.payload) = (partition, key, value);
        if !headers.is_empty() {
            record.headers = Some(owned_headers(headers));
        }
        let producer = self.producer()?;
        match producer.send(record) {
            Ok(()) => Ok(answer),
            Err((error, _)) => Err(producer.client().context().explain(&error, topic)),
        }
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&self, message: Outgoing) -> BoxFuture<'static, Result<()>> {
        // handed over now, not when the future is first polled: messages leave in the order of the calls
        acknowledged(self.send(&message))
    }
}

/// Ends when the broker has acknowledged what was handed over.
fn acknowledged(sent: Result<Answer>) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        let gone = || Err(Error::retry("the Kafka producer ended before the message was acknowledged"));
        sent?.await.unwrap_or_else(|_| gone())
    })
}

fn start(config: &ClientConfig, scrubber: &Scrubber, properties: &Properties) -> Result<Producer> {
    let context = Context {
        logs: Logs::new(scrubber.clone()),
        scrubber: scrubber.clone(),
        fatal: false.into(),
        last: Mutex::default(),
        tokens: Tokens::of(properties)?,
    };
    config.create_with_context(context).map_err(|error| creation_error(error, scrubber))
}

/// The callbacks of the producer.
struct Context {
    logs: Logs,
    scrubber: Scrubber,
    fatal: AtomicBool,
    /// The last error of the client: it says why messages time out. One that a person must mend is kept over others.
    last: Mutex<Option<Error>>,
    tokens: Tokens,
}

impl Context {
    fn explain(&self, error: &KafkaError, topic: &str) -> Error {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        let is = |known: Code| known as i32 == code;
        if is(Code::RD_KAFKA_RESP_ERR__FATAL) {
            self.fatal.store(true, Ordering::Relaxed);
        }
        let timed_out = is(Code::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT) || is(Code::RD_KAFKA_RESP_ERR__TIMED_OUT);
        let why = lock(&self.last).as_ref().filter(|_| timed_out).map(Error::to_string).unwrap_or_default();
        faults::error(code, &why).context(format!("publishing to {topic}"))
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> std::result::Result<OAuthToken, Box<dyn std::error::Error>> {
        self.tokens.next()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.logs.log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        stats(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| code as i32 == Code::RD_KAFKA_RESP_ERR__FATAL as i32) {
            self.fatal.store(true, Ordering::Relaxed);
        }
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        let error = faults::error(code, &self.scrubber.clean(reason));
        tracing::debug!("the Kafka producer: {error}");
        let mut last = lock(&self.last);
        if error.kind() == Kind::Config || last.as_ref().is_none_or(Error::is_retry) {
            *last = Some(error);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Result<()>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, reply: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => {
                lock(&self.last).take();
                Ok(())
            }
            Err((error, message)) => Err(self.explain(error, rdkafka::Message::topic(message))),
        };
        // nobody waits any more: the message is where it is
        let _ = reply.send(outcome);
    }
}
