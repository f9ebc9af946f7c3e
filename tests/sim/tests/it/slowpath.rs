//! The slow path with a card in memory: worker, installer, software E-Switch.

mod audit;
mod bridged;
mod fairness;
mod faults;
mod management;
mod property;
mod scenarios;
pub(crate) mod world;
