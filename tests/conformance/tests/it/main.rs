//! The driver under programs that are not written for it: its loadable form in dpdk-testpmd, as a
//! stranger uses it, and linked into one process with the agent's own encoder.

mod offload;
mod rules;
mod traffic;
mod tunnels;

/// What follows `key` on its line, as a number.
fn number(text: &str, key: &str) -> u64 {
    let rest = text.split_once(key).unwrap_or_else(|| panic!("{key:?} is not in:\n{text}")).1;
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no number behind {key:?}:\n{text}"))
}
