//! Whole cards in virtual time: a client, the store, the agent, the connection, the datapath and the
//! E-Switch of one to three cards, with everything going wrong that can.
//!
//! What runs are the crates themselves: `nic-model` plans, `nic-compile` compiles, `nic-pipeline`
//! translates, `nic-slowpath` forwards and installs, `soft-eswitch` is the card. What is simulated is
//! what lies between them: processes that die, the connection ([`link`], with [`agent`] and [`server`]
//! at its ends, which do what `nic-link` does), disks ([`store`], [`kept`]), and the clock.

mod agent;
mod chaos;
mod datapath;
mod disk;
mod fault;
mod kept;
mod link;
mod log;
mod property;
mod resources;
mod rest;
mod saboteurs;
mod server;
mod store;
mod traffic;
mod world;
