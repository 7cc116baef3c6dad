//! What figures are of: the machine.

use serde::{Deserialize, Serialize};

/// What of a machine makes its figures what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name; `None` where the system does not say.
    pub processor: Option<String>,
    /// Cores that this program may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Self {
            processor,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// Its processor, in words.
    pub fn processor(&self) -> &str {
        self.processor.as_deref().unwrap_or("unknown")
    }
}

/// Processes at work over the last minute; `None` where the system does not say.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
