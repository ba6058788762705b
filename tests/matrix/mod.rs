//! Every attack of the taxonomy as data: what is done, where, and what the audit must say.
#![allow(dead_code)] // each test file uses its own part

pub mod base;
pub mod case;
pub mod contents;
pub mod entries;
pub mod history;
pub mod honest;
pub mod rows;
pub mod run;
pub mod versions;
