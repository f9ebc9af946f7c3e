//! Text forms: any text is read or refused, and what is printed reads back as the same value.

use nic_flow::{Match, text};
use nic_model::openflow::{Flow, parse_packet};

/// `nic_flow::text`: matches and action lists.
pub fn flow_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(flow) = text.parse::<Match>() {
        assert_eq!(flow.to_string().parse(), Ok(flow), "{flow}");
    }
    if let Ok(actions) = text::parse_actions(text) {
        let printed = text::actions(&actions).to_string();
        assert_eq!(text::parse_actions(&printed), Ok(actions), "{printed}");
    }
}

/// `nic_model::openflow`: flows and packets as typed for Open vSwitch.
pub fn openflow_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Flow::parse(text) {
        Ok(flow) => {
            let printed = flow.to_string();
            assert_eq!(Flow::parse(&printed).as_ref(), Ok(&flow), "{printed}");
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.position), "{error} is outside of the text");
            assert!(text[error.position..].contains(&error.token), "{error} names a word from before");
        }
    }
    let _ = parse_packet(text);
}
