//! Instructions and allocations an event, stage by stage, beside the committed figures: a regression shows without a
//! quiet machine.
//!
//! `make counts` runs it, and `make counts BLESS=1` commits to what it counted; `PROFILE=release` counts the optimised
//! build instead of the one that the tests use. Without valgrind, `cargo bench --bench counts -- stages` prints events,
//! allocations and nanoseconds of CPU of each stage.
//!
//! The program starts itself under `valgrind --tool=callgrind`. There, each stage runs twice over the same events: once
//! so that buffers have their size and people are known, and once between two calls of functions that do nothing, at
//! which callgrind writes down what was counted since. So neither the start of the process nor what a stage
//! needs beforehand is in its figures, and the second pass is what goes on for ever in a service.
//!
//! What valgrind cannot do is not counted: its processor has AVX2, but no SHA extensions, so SHA-256 is the generic
//! code and shows some thirty times the instructions that it takes in production. It and zstd are therefore told apart
//! from everything else, by the names of functions, and *ours* is what is left.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the run

mod callgrind;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod stages;
#[path = "../detect/traffic.rs"]
#[allow(dead_code)]
mod traffic;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts what all threads allocate.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain number that never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Events of a stage: enough for the fixed cost of a segment to be a small part.
const EVENTS: usize = 5_000;

fn main() -> ExitCode {
    // cargo passes --bench
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let events = words.iter().find_map(|word| word.parse().ok()).unwrap_or(EVENTS);
    match words.iter().any(|word| word == "stages") {
        // this is what valgrind runs: what it prints is read by `figures`
        true => {
            for told in stages::run(events) {
                println!("{told}");
            }
            ExitCode::SUCCESS
        }
        false => figures::compare(events, words.iter().any(|word| word == "bless")),
    }
}
