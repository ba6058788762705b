//! What is measured, and how: CPU time of this thread, allocations, memory of the process.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
};

/// Counts what this thread allocates.
pub struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter is a cell of a plain number that never
// allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// CPU time (user and system) that this thread has had, in nanoseconds. Time in which other processes ran is not in it.
pub fn cpu_nanos() -> u64 {
    // the kernel brings the account up to date when the thread gives way, and at ticks of 4 ms
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds")
}

/// What something has cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub events: u64,
    pub nanos: u64,
    pub allocations: u64,
}

impl Cost {
    /// Adds what `run` costs for so many events.
    pub fn add(&mut self, events: usize, run: impl FnOnce()) {
        let (allocated, began) = (COUNT.with(Cell::get), cpu_nanos());
        run();
        self.nanos += cpu_nanos() - began;
        self.allocations += COUNT.with(Cell::get) - allocated;
        self.events += events as u64;
    }

    /// Both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            nanos: self.nanos + other.nanos,
            allocations: self.allocations + other.allocations,
        }
    }

    /// Nanoseconds an event.
    pub fn each(&self) -> f64 {
        self.nanos as f64 / self.events.max(1) as f64
    }

    /// Allocations an event.
    pub fn allocated(&self) -> f64 {
        self.allocations as f64 / self.events.max(1) as f64
    }
}

/// Resident memory of this process in MiB.
pub fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}
