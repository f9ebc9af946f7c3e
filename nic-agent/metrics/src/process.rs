//! What the process uses.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};

use crate::metric::{CPU, MAX_FILES, Metric, OPEN_FILES, RESIDENT, START, THREADS, VIRTUAL};

/// The process's own figures; what the system does not tell is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system CPU time, in seconds.
    pub cpu: Option<f64>,
    /// When it started, in seconds since 1970.
    pub start: Option<f64>,
    /// Bytes of memory that are resident.
    pub resident: Option<u64>,
    /// Bytes of virtual memory.
    pub virtual_memory: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// As many as may be open.
    pub max_files: Option<u64>,
}

impl Process {
    /// The figures now, of this process, which started then.
    pub fn read(started: SystemTime) -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpu = getrusage(UsageWho::RUSAGE_SELF).ok();
        let micros =
            cpu.map(|used| used.user_time().num_microseconds() + used.system_time().num_microseconds());
        let start = started.duration_since(UNIX_EPOCH).ok();
        Process {
            #[expect(clippy::cast_precision_loss, reason = "exact for the first 285 years of CPU time")]
            cpu: micros.map(|micros| micros as f64 / 1e6),
            start: start.map(|start| start.as_secs_f64()),
            resident: line(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_memory: line(&status, "VmSize:").map(|kib| kib * 1024),
            threads: line(&status, "Threads:"),
            // The folder itself is open while it is read.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| (files.count() as u64).saturating_sub(1)),
            max_files: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        }
    }

    pub(crate) fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu {
            CPU.describe(page)?.encode_counter::<NoLabelSet, _, f64>(&cpu, None)?;
        }
        if let Some(start) = self.start {
            START.describe(page)?.encode_gauge(&start)?;
        }
        let counts: [(&Metric, Option<u64>); 5] = [
            (&RESIDENT, self.resident),
            (&VIRTUAL, self.virtual_memory),
            (&THREADS, self.threads),
            (&OPEN_FILES, self.open_files),
            (&MAX_FILES, self.max_files),
        ];
        for (metric, count) in counts {
            if let Some(count) = count {
                metric.describe(page)?.encode_gauge(&count)?;
            }
        }
        Ok(())
    }
}

/// The number in a line of `/proc/self/status`, which is in KiB where it is of memory (proc(5)).
fn line(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let now = SystemTime::now();
        let process = Process::read(now);
        assert!(process.resident.is_some_and(|bytes| bytes > 1 << 16), "{process:?}");
        assert!(process.virtual_memory >= process.resident, "{process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1), "{process:?}");
        let open = process.open_files.expect("they are counted");
        assert!((3..=process.max_files.expect("there is a limit")).contains(&open), "{process:?}");
        assert!(process.cpu.is_some() && process.start.is_some_and(|start| start > 1.6e9), "{process:?}");
    }

    #[test]
    fn a_line_is_found_by_its_name_and_read_without_its_unit() {
        let status = "Name:\tnic-agent\nVmSize:\t  2048 kB\nThreads:\t7\n";
        assert_eq!((line(status, "VmSize:"), line(status, "Threads:")), (Some(2048), Some(7)));
        assert_eq!(line(status, "VmRSS:"), None);
        assert_eq!(line("VmRSS:\tmuch\n", "VmRSS:"), None);
    }
}
