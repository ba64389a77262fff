//! What the machine has and what this process took of it, as Linux tells; elsewhere "unknown".

use std::fs;

/// Bytes that can be had without swapping (`MemAvailable`, and the control group's limit where it is tighter).
pub fn memory_available() -> Option<u64> {
    let system = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(control_group_room().map_or(system, |room| room.min(system)))
}

/// What the container's limit leaves (cgroup v2); page cache that it may drop counts as free.
fn control_group_room() -> Option<u64> {
    let number = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.max")?;
    let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").ok()?;
    let cache: u64 = stat.lines().find_map(|l| l.strip_prefix("inactive_file ")?.trim().parse().ok())?;
    Some(limit.saturating_sub(number("memory.current")?.saturating_sub(cache)))
}

/// The bytes that this process holds now (`VmRSS`); 0 where unknown.
pub fn resident() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|text| kilobytes(&text, "VmRSS:")).unwrap_or(0)
}

/// The most bytes that this process held (`VmHWM`); 0 where unknown.
pub fn peak_memory() -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|text| kilobytes(&text, "VmHWM:")).unwrap_or(0)
}

/// Seconds of processor time of this process, all threads; 0 where unknown.
pub fn cpu_seconds() -> f64 {
    // proc(5): utime and stime are fields 14 and 15, in hundredths of a second on every current Linux; the second
    // field, the program's name, may hold blanks and ends at the last `)`
    let ticks = |stat: String| -> Option<u64> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    fs::read_to_string("/proc/self/stat").ok().and_then(ticks).unwrap_or(0) as f64 / 100.0
}

/// What of the processor matters to the engine's speed and to its last bits.
pub fn features() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let vectors = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let vectors: [(&str, bool); 0] = [];
    let there = vectors.into_iter().filter_map(|(name, there)| there.then_some(name));
    std::iter::once(std::env::consts::ARCH).chain(there).map(String::from).collect()
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        assert!(super::memory_available().unwrap() > 0);
        assert!(super::peak_memory() > 1 << 20);
        assert_eq!(super::kilobytes("A: 1 kB\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12 << 10));
    }
}
