//! The page: what is on it, that it is OpenMetrics, and how it is served.

#![forbid(unsafe_code)]

mod http;
mod openmetrics;
mod page;
