//! This process, as the system sees it: its limit of open descriptors, the memory there is for it, and its threads.

use std::path::{Path, PathBuf};

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

/// How much memory this process and its children may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The limit in bytes.
    pub bytes: u64,
    /// The file that says so.
    pub file: PathBuf,
}

/// The memory of this machine, or the lowest memory limit of this process's control groups (of both versions) and all groups
/// above them, if that is less. `None` if none of that can be read.
pub fn memory_limit() -> Option<MemoryLimit> {
    least_limit(&|path| std::fs::read_to_string(path).ok())
}

fn least_limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<MemoryLimit> {
    let file = PathBuf::from("/proc/meminfo");
    let total = read(&file).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim();
        Some(line.strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
    });
    let machine = total.map(|bytes| MemoryLimit { bytes, file });
    // A group without a limit has `max` in its file, or a number greater than the memory of any machine.
    let of_group = |file: PathBuf| Some(MemoryLimit { bytes: read(&file)?.trim().parse().ok()?, file });
    let groups = group_files(read).into_iter().filter_map(of_group);
    machine.into_iter().chain(groups).min_by_key(|limit| limit.bytes)
}

/// The files with the memory limits of this process's control groups, and of all groups above them.
fn group_files(read: &dyn Fn(&Path) -> Option<String>) -> Vec<PathBuf> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let mut files = Vec::new();
    for mount in mounts.lines() {
        // `36 31 0:33 ROOT MOUNT_POINT rw,relatime - TYPE SOURCE OPTIONS`; cgroups(7), proc_pid_mountinfo(5).
        let Some((place, kind)) = mount.split_once(" - ") else { continue };
        let (place, kind): (Vec<_>, Vec<_>) = (place.split(' ').collect(), kind.split(' ').collect());
        let is_memory = |list: &str| list.split(',').any(|name| name == "memory");
        let (&[_, _, _, root, mount_point, ..], &[kind, _, options]) = (&place[..], &kind[..]) else {
            continue;
        };
        let name = match kind {
            "cgroup2" => "memory.max",
            "cgroup" if is_memory(options) => "memory.limit_in_bytes",
            _ => continue,
        };
        // `4:memory:/a/b`, or `0::/a/b` in version 2.
        let is_here = |controllers: &str| {
            if kind == "cgroup2" { controllers.is_empty() } else { is_memory(controllers) }
        };
        let group = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            is_here(controllers).then_some(path)
        });
        // A container may see nothing above its own group.
        let below = group.and_then(|group| Path::new(group).strip_prefix(root).ok());
        let directory = Path::new(mount_point).join(below.unwrap_or(Path::new("")));
        let within = directory.ancestors().take_while(|ancestor| ancestor.starts_with(mount_point));
        files.extend(within.map(|ancestor| ancestor.join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      37 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const DOCKER: &str = "36 31 0:32 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

    /// The groups, the mounts, the limits of groups, and what comes of it: MiB and the file.
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], u64, &'static str);

    const ROWS: &[Row] = &[
        ("", "", &[], 1024, "/proc/meminfo"),
        ("4:memory:/a/b\n1:cpu:/c", V1, &[("memory/a/b", "50331648\n")], 48, "memory/a/b"),
        ("4:memory:/a/b", V1, &[("memory/a", "50331648")], 48, "memory/a"),
        ("4:memory:/a/b", V1, &[("memory/c", "50331648")], 1024, "/proc/meminfo"),
        ("4:memory:/", V1, &[("memory", "9223372036854771712")], 1024, "/proc/meminfo"),
        ("4:memory:/docker/x", DOCKER, &[("memory", "50331648")], 48, "memory"),
        ("4:memory:/elsewhere", DOCKER, &[("memory", "50331648")], 48, "memory"),
        ("0::/a/b\n", V2, &[("a/b", "max\n"), ("a", "67108864\n")], 64, "a"),
        ("0::/a/b", V2, &[("a/b", "50331648"), ("a", "67108864")], 48, "a/b"),
        ("0::/a", V2, &[("a", "1099511627776")], 1024, "/proc/meminfo"),
    ];

    #[test]
    fn the_least_limit_of_all_groups_and_the_machine_counts() {
        for (groups, mounts, limits, mib, place) in ROWS {
            let read = |path: &Path| match path.to_str()? {
                "/proc/meminfo" => Some("MemTotal:        1048576 kB\nMemFree: 1 kB\n".to_owned()),
                "/proc/self/cgroup" => Some((*groups).to_owned()),
                "/proc/self/mountinfo" => Some((*mounts).to_owned()),
                _ => {
                    let group = path.parent()?.strip_prefix("/sys/fs/cgroup").ok()?;
                    limits
                        .iter()
                        .find(|(name, _)| group == Path::new(name))
                        .map(|(_, text)| (*text).to_owned())
                }
            };
            let found = least_limit(&read).expect("a limit");
            assert_eq!(found.bytes, mib * 1024 * 1024, "{groups} {limits:?}");
            let shown = found.file.display().to_string();
            assert!(
                shown.starts_with(place) || shown.starts_with(&format!("/sys/fs/cgroup/{place}/m")),
                "{shown}"
            );
        }
        assert_eq!(least_limit(&|_| None), None);
    }
}
