//! This process, as the system sees it: its limit of open descriptors, and its threads.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most descriptors that are asked for.
const MAX_DESCRIPTORS: u64 = 65_536;

/// Raises the limit of open descriptors as far as possible, to 65,536 at most. Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    let current = limit.current.unwrap_or(MAX_DESCRIPTORS);
    if current >= most {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }) {
        Ok(()) => most,
        Err(errno) => {
            log::warn!("cannot raise the limit of open descriptors from {current} to {most}: {errno}");
            current
        }
    }
}

/// Lists the threads of this process, from `/proc/self/task`.
pub fn threads() -> String {
    let mut lines = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        // The name is in parentheses, and may contain parentheses.
        let Some((number, rest)) = stat.split_once(" (") else { continue };
        let Some((name, rest)) = rest.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let millis = (ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second().max(1);
        let state = fields.first().copied().unwrap_or("?");
        let (whole, part) = (millis / 1000, millis % 1000);
        lines.push(format!("{name:<15}  {number:>7}  {state}  {whole:6}.{part:03} s\n"));
    }
    lines.sort_unstable();
    lines.concat()
}
