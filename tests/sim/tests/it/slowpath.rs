//! The slow path with a card in memory: worker, installer, software E-Switch.

mod audit;
mod bridged;
mod faults;
mod property;
mod scenarios;
pub(crate) mod world;
