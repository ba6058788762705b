//! Runs schedules on all cores, and makes one that fails smaller until nothing more can be left out of it.

use super::{
    schedule::{Script, Without},
    tally::Tally,
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

thread_local! {
    /// Panics on this thread, those of tasks that nobody waits for included, and what the first one said.
    static PANICS: Cell<u32> = const { Cell::new(0) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What can be left out, as it is called in `AUTHSEAL_TEST_WITHOUT`.
const PARTS: [&str; 5] = ["store", "publisher", "state", "broker", "kafka"];

fn part<'a>(without: &'a mut Without, name: &str) -> Option<&'a mut bool> {
    Some(match name {
        "store" => &mut without.store,
        "publisher" => &mut without.publisher,
        "state" => &mut without.state,
        "broker" => &mut without.broker,
        "kafka" => &mut without.kafka,
        _ => return None,
    })
}

/// The schedule that was asked for, if one was.
fn asked() -> Option<Script> {
    let seed = std::env::var("AUTHSEAL_TEST_SEED").ok()?.parse().expect("AUTHSEAL_TEST_SEED is a number");
    let steps = std::env::var("AUTHSEAL_TEST_STEPS").ok().map(|steps| {
        let steps = steps.split(',').filter(|step| !step.is_empty());
        steps.map(|step| step.parse().expect("AUTHSEAL_TEST_STEPS are numbers, separated by commas")).collect()
    });
    let mut without = Without::default();
    for name in std::env::var("AUTHSEAL_TEST_WITHOUT").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        *part(&mut without, name).unwrap_or_else(|| panic!("AUTHSEAL_TEST_WITHOUT: {name} is none of {PARTS:?}")) =
            true;
    }
    Some(Script { seed, steps, without })
}

/// How to run a schedule again.
fn command(script: &Script) -> String {
    let mut command = format!("AUTHSEAL_TEST_SEED={}", script.seed);
    if let Some(steps) = &script.steps {
        let steps: Vec<_> = steps.iter().map(u64::to_string).collect();
        command += &format!(" AUTHSEAL_TEST_STEPS={}", steps.join(","));
    }
    let mut without = script.without;
    let left_out: Vec<_> = PARTS.into_iter().filter(|name| part(&mut without, name).is_some_and(|p| *p)).collect();
    if !left_out.is_empty() {
        command += &format!(" AUTHSEAL_TEST_WITHOUT={}", left_out.join(","));
    }
    command
}

/// Runs a schedule in a runtime and a time of its own. Errors with what it said when it failed.
fn run<F: Future<Output = ()>>(
    script: &Script,
    tally: &Tally,
    schedule: impl Fn(Script, Tally) -> F,
) -> Result<(), String> {
    PANICS.set(0);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(schedule(script.clone(), tally.clone()));
        assert_eq!(PANICS.get(), 0, "seed {}: a task panicked", script.seed);
    }));
    ran.map_err(|_| SAID.take())
}

/// Leaves out whatever the failure does not need: whole parts, then ever shorter runs of steps.
fn shrink(script: Script, steps: u64, fails: impl Fn(&Script) -> bool) -> Script {
    let mut smallest = script;
    for name in PARTS {
        let mut smaller = smallest.clone();
        if part(&mut smaller.without, name).is_some_and(|left_out| !std::mem::replace(left_out, true))
            && fails(&smaller)
        {
            smallest = smaller;
        }
    }
    let mut left: BTreeSet<u64> = smallest.steps.take().unwrap_or_else(|| (1..=steps).collect());
    let mut length = left.len().div_ceil(2);
    while length > 0 {
        let mut at = 0;
        while at < left.len() {
            let dropped: BTreeSet<u64> = left.iter().skip(at).take(length).copied().collect();
            let smaller = Script { steps: Some(&left - &dropped), ..smallest.clone() };
            if fails(&smaller) {
                left = &left - &dropped;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    Script { steps: Some(left), ..smallest }
}

/// Runs schedules of up to `steps` steps. Returns what was injected, and into how many.
pub fn schedules<F: Future<Output = ()>>(
    usual: u64,
    steps: u64,
    schedule: impl Fn(Script, Tally) -> F + Sync,
) -> (BTreeMap<String, u64>, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let asked = asked();
    let (first, count) = match &asked {
        Some(script) => (script.seed, 1),
        None => (number("AUTHSEAL_TEST_FIRST").unwrap_or(0), number("AUTHSEAL_TEST_SCHEDULES").unwrap_or(usual)),
    };
    std::panic::set_hook(Box::new(|info| {
        if PANICS.replace(PANICS.get() + 1) == 0 {
            SAID.set(format!("{info}"));
        }
    }));
    let (next, failed, total) = (AtomicU64::new(first), AtomicBool::new(false), Tally::default());
    let failure = Mutex::new(None);
    let worker = || {
        let tally = Tally::default();
        while !failed.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + count {
                break;
            }
            let script = asked.clone().unwrap_or(Script { seed, ..Script::default() });
            if let Err(said) = run(&script, &tally, &schedule) {
                failed.store(true, Relaxed);
                failure.lock().unwrap().get_or_insert((script, said));
            }
        }
        total.merge(&tally);
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
    let failure = failure.into_inner().unwrap();
    if let Some((script, said)) = failure {
        println!("{said}\nschedule {} failed: run it again with {}", script.seed, command(&script));
        if asked.is_none() && std::env::var("AUTHSEAL_TEST_SHRINK").as_deref() != Ok("no") {
            let smallest = shrink(script, steps, |script| run(script, &Tally::default(), &schedule).is_err());
            let tally = Tally::default();
            let said = run(&smallest, &tally, &schedule).err().unwrap_or_default();
            tally.all().iter().for_each(|(kind, times)| println!("{times:>9}  {kind}"));
            println!("{said}\nwhat it needs: {}", command(&smallest));
        }
        drop(std::panic::take_hook());
        panic!("a schedule failed");
    }
    drop(std::panic::take_hook());
    (total.all(), count)
}

#[test]
fn a_failure_is_shrunk_to_what_it_needs() {
    let whole = Script { seed: 7, ..Script::default() };
    let fails = |script: &Script| {
        let has = |step| script.steps.as_ref().is_none_or(|steps| steps.contains(&step));
        has(3) && has(17) && has(30) && !script.without.store
    };
    let smallest = shrink(whole, 30, fails);
    let without = Without { publisher: true, state: true, broker: true, kafka: true, store: false };
    assert_eq!(smallest, Script { seed: 7, steps: Some(BTreeSet::from([3, 17, 30])), without });
    let command = command(&smallest);
    assert_eq!(
        command,
        "AUTHSEAL_TEST_SEED=7 AUTHSEAL_TEST_STEPS=3,17,30 AUTHSEAL_TEST_WITHOUT=publisher,state,broker,kafka"
    );
}
