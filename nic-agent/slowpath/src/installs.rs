//! Flows that wait for the offload thread to take their rule, each port in its turn: who asks for very
//! many rules does not make those of another port wait behind them.

use std::collections::VecDeque;

use nic_flow::RuleId;

/// The names of flows, in order by port.
#[derive(Debug, Default)]
pub(crate) struct Installs {
    /// By index of the port.
    queues: Vec<VecDeque<RuleId>>,
    /// The ports that have names, in the order of their turns; each is here once.
    turns: VecDeque<u16>,
    len: usize,
}

impl Installs {
    pub(crate) fn push(&mut self, port: u16, id: RuleId) {
        let index = usize::from(port);
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, VecDeque::new);
        }
        let queue = &mut self.queues[index];
        if queue.is_empty() {
            self.turns.push_back(port);
        }
        queue.push_back(id);
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<RuleId> {
        let port = self.turns.pop_front()?;
        let queue = &mut self.queues[usize::from(port)];
        let id = queue.pop_front()?;
        self.len -= 1;
        if !queue.is_empty() {
            self.turns.push_back(port);
        }
        Some(id)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Keeps only the names for which `keep` is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(RuleId) -> bool) {
        for queue in &mut self.queues {
            queue.retain(|&id| keep(id));
        }
        self.len = self.queues.iter().map(VecDeque::len).sum();
        let Installs { queues, turns, .. } = self;
        turns.retain(|&port| !queues[usize::from(port)].is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_take_turns_and_each_keeps_its_order() {
        let mut installs = Installs::default();
        let id = |slot| RuleId { slot, generation: 0 };
        for slot in 0..5 {
            installs.push(2, id(slot));
        }
        installs.push(0, id(10));
        installs.push(0, id(11));
        installs.push(1, id(20));
        installs.retain(|id| ![1, 20].contains(&id.slot));
        assert_eq!(installs.len(), 6);
        let mut popped = Vec::new();
        while let Some(id) = installs.pop() {
            popped.push(id.slot);
            if id.slot == 10 {
                installs.push(1, RuleId { slot: 21, generation: 0 });
            }
        }
        assert_eq!(popped, [0, 10, 2, 11, 21, 3, 4]);
        assert_eq!(installs.len(), 0);
    }
}
