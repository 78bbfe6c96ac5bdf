//! What a process uses.

use std::fs;

/// Memory, descriptors and processor time, as `/proc` tells them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    /// Resident memory (kB).
    pub kilobytes: u64,
    /// The most that it ever was (kB).
    pub peak_kilobytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// User and system time so far (s), in ticks of 10 ms (`proc_pid_stat(5)`).
    pub processor_seconds: f64,
}

impl Used {
    /// By this process, until now.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn by(pid: u32) -> Self {
        let read = |file: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}"));
            text.unwrap_or_else(|error| panic!("{pid}: {error}"))
        };
        let (status, stat) = (read("status"), read("stat"));
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or_else(|| panic!("{pid} has no {name} {status}"))
        };
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let times = after_name.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        Self {
            kilobytes: kilobytes("VmRSS:"),
            peak_kilobytes: kilobytes("VmHWM:"),
            descriptors: descriptors.map_or(0, Iterator::count),
            processor_seconds: ticks as f64 / 100.0,
        }
    }
}
