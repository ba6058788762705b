//! authseal turns the authentication events that systems already publish to Kafka into evidence.
//!
//! It reads them, validates them against Avro schemas, judges them with rules that a security team writes, and seals
//! every one of them, rejected or not, in signed, hash-chained segments on write-once storage. Findings go to a
//! Kafka topic that a SIEM reads. Anyone can check the result offline, without trusting us.
//!
//! # Flow
//!
//! ```text
//! Kafka ── record ─▶ decode+validate ─┬─ event ────────▶ detect ─▶ alerts topic (OCSF)
//!                                     ├─ rejection ────▶ detect, dead-letter topic
//!                                     └─ all ──────────▶ segment ─▶ chain ─▶ seal ─▶ store ─▶ receipt
//!                                                                                   └─▶ log ─▶ checkpoint
//!
//! RawRecord → Event | Rejection | Opaque → Draft → Sealed → Receipt
//! ```
//!
//! Each arrow is a function that consumes the type on its left. Only [`store::put_new`] makes a [`store::Receipt`];
//! only a receipt moves the sealed position. Decisions are pure functions that return enums ([`ingest::plan`]);
//! effects happen at the edge, and are put in order in one place, the loop of [`ingest`].
//!
//! # Layers
//!
//! 1. **Vocabulary**, types that carry invariants: [`error`], [`digest`], [`position`], [`event`], [`record`],
//!    [`retention`], [`topics`], [`health`], [`telemetry`].
//! 2. **Pure core**, no async, no I/O, time passed in: [`avro`], [`canonical`], [`fault`], [`artifact`], [`layout`],
//!    [`store_info`], [`merkle`], [`note`], [`keyfile`], [`manifest`], [`segment`], [`chain`], [`tlog`], [`proof`],
//!    [`decode`], [`detect`], [`sigma`].
//! 3. **Edges**, all I/O, behind small traits: [`source`], [`store`], [`publish`], [`registry`], [`remote`],
//!    [`signing`].
//! 4. **Workflows**, which never import each other: [`ingest`], [`log`], [`audit`], [`backtest`].
//! 5. **Surfaces**, which parse, wire and render: [`config`], [`cli`], [`demo`], [`web`].
//!
//! A lower layer never imports a higher one; `tests/tidy.rs` checks it.
//!
//! # Code map, in reading order
//!
//! 1. [`record`] and [`event`]: what comes in, and what it means.
//! 2. [`decode`]: bytes → event or rejection.
//! 3. [`detect`]: rules, windows in event time, findings.
//! 4. [`segment`], [`manifest`], [`note`], [`chain`]: the formats, which are for ever. `docs/format.md` has them to
//!    the byte.
//! 5. [`store`], [`source`], [`publish`]: the contracts first, then one implementation each for production and for
//!    tests.
//! 6. [`ingest`]: the write path. Begin with `engine`, the loop; `lane` is one partition; `plan` decides.
//! 7. [`log`]: what is sealed enters the transparency log, whose formats are in [`tlog`].
//! 8. [`audit`]: the read path. It shares formats with ingest, and nothing else.
//! 9. [`proof`]: one record in one file, which needs neither the store nor a network.
//! 10. [`backtest`]: rules over what was sealed.
//! 11. [`sigma`]: other people's rules, made into ours.
//!
//! # Four promises
//!
//! 1. **Nothing lost, nothing twice.** Every Kafka offset of every subscribed partition is covered by exactly one
//!    sealed leaf: an event, a rejection, an opaque record, or a gap with its cause. The store is the truth and says
//!    where to go on; create-only keys fence zombie writers. Held by `tests/ingest.rs` (crashes, zombies, lost
//!    answers), `tests/live_run.rs` (`kill -9` against a real Kafka and a real S3 endpoint) and `tests/live_chaos.rs`
//!    (broker and store fail as well: `docs/reliability.md`).
//! 2. **Nothing changed unseen.** Every edit, removal, insertion, reordering and fork is found by `authseal verify`,
//!    at its place, with a reason code; so is every version beside it, and every lock that falls short. What is in the
//!    transparency log is missed when it is removed. Held by `tests/tamper`, by `tests/attacks_matrix.rs` and, for the
//!    log under races and crashes, by `tests/log_race.rs`.
//! 3. **Nothing waits, nothing grows.** Evidence never waits for alerts; every queue, window, script and buffer is
//!    bounded. Held by `tests/ingest.rs` (publisher down, store down) and the flood tests of [`detect`].
//! 4. **Nobody has to trust us.** Segments open in any Avro reader; manifests are C2SP signed notes in a C2SP log, and
//!    one record is proven by one file ([`proof`]). Held by `tests/format`, by `tests/third_party.rs`, and by
//!    `tests/independent/`, verifiers in other languages that share no code with this one.

pub mod artifact;
pub mod audit;
pub mod avro;
pub mod backtest;
pub mod canonical;
pub mod chain;
pub mod cli;
pub mod config;
pub mod decode;
pub mod demo;
pub mod detect;
pub mod digest;
pub mod error;
pub mod event;
pub mod fault;
pub mod health;
pub mod ingest;
pub mod keyfile;
pub mod layout;
pub mod log;
pub mod manifest;
pub mod merkle;
pub mod note;
pub mod position;
pub mod proof;
pub mod publish;
pub mod record;
pub mod registry;
pub mod remote;
pub mod retention;
pub mod segment;
pub mod sigma;
pub mod signing;
pub mod source;
pub mod store;
pub mod store_info;
pub mod telemetry;
pub mod tlog;
pub mod topics;
pub mod web;
