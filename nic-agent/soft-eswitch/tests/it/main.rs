//! The switch against a naive model of it, under churn, under faults and under threads.

mod churn;
mod faults;
mod lab;
mod model;
mod portable;
mod semantics;
mod threads;
