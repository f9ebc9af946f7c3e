//! The services over a real unix socket, with a real store and a datapath made up here.

#![forbid(unsafe_code)]

mod apply;
mod calls;
mod lab;
mod learned;
mod operations;
mod overlay;
mod resources;
mod system;
mod watch;
