//! `authseal demo`: the whole of it in one process, with nothing installed. A broker over real TCP, a directory
//! store, four systems' logons with four attacks in them, sealed, verified, tampered with on a copy, and caught.

mod load;
mod look;
mod shipped;
mod show;
mod stage;
mod tail;
mod tamper;
pub mod traffic;

pub use show::run;
pub use stage::rules;

use std::path::PathBuf;

/// What the demo is told.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Where everything goes; must not exist, or be empty. Without one, `authseal-demo`, or the first free name
    /// after it.
    pub dir: Option<PathBuf>,
    /// How many records are published.
    pub events: u64,
}
