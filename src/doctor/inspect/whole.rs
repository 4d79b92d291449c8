//! Which parts of a file can be judged when others are broken: nothing is said by guess.

use std::collections::BTreeSet;

use crate::config::Fault;

/// The sections of the file.
const SECTIONS: [&str; 13] = [
    "accounts",
    "audit",
    "egress",
    "limits",
    "listeners",
    "notify",
    "notify_reminder",
    "providers",
    "relay",
    "state_dir",
    "store_key",
    "tls",
    "trust",
];

/// What has a value also when nothing is written: a misspelt key may be one of these.
const HAVE_DEFAULTS: [&str; 4] = ["relay", "state_dir", "store_key", "tls"];

/// The parts in which no fault stands.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    broken: BTreeSet<&'static str>,
}

impl Whole {
    /// All but those in which `faults` stand.
    pub(crate) fn but(faults: &[Fault]) -> Self {
        let mut broken = BTreeSet::new();
        for fault in faults {
            let section = fault.path.split(['.', '[']).next().unwrap_or_default();
            match SECTIONS.into_iter().find(|known| *known == section) {
                Some(known) => {
                    broken.insert(known);
                }
                None if section.is_empty() => broken.extend(SECTIONS),
                None => broken.extend(HAVE_DEFAULTS),
            }
        }
        // What lies in the state folder, unless it is written otherwise.
        if broken.contains("state_dir") {
            broken.extend(HAVE_DEFAULTS);
        }
        Self { broken }
    }

    /// Whether this section has no fault.
    pub(crate) fn has(&self, section: &str) -> bool {
        debug_assert!(SECTIONS.contains(&section));
        !self.broken.contains(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_sections_are_those_of_the_file() {
        let schema = config::schema();
        let keys = schema["properties"].as_object().unwrap().keys();
        let keys: BTreeSet<_> = keys.map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(SECTIONS));
    }

    #[test]
    fn a_fault_spoils_its_section_and_what_hangs_on_it() {
        let but = |paths: &[&str]| {
            let fault = |path: &&str| Fault {
                line: None,
                path: (*path).to_owned(),
                message: String::new(),
            };
            let faults: Vec<_> = paths.iter().map(fault).collect();
            let whole = Whole::but(&faults);
            let whole = SECTIONS.into_iter().filter(|section| whole.has(section));
            whole.collect::<Vec<_>>()
        };
        assert_eq!(but(&[]), SECTIONS);
        assert_eq!(but(&[""]), Vec::<&str>::new());
        assert!(!but(&["providers[1].flow"]).contains(&"providers"));
        assert_eq!(but(&["tls.names[0]"]).len(), SECTIONS.len() - 1);
        for path in ["state_dir", "stat_dir"] {
            let whole = but(&[path]);
            assert!(!whole.contains(&"tls") && !whole.contains(&"store_key"));
            assert!(whole.contains(&"providers") && whole.contains(&"notify"));
        }
    }
}
