//! What is wrong with a file: where, and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong (or, as a warning, doubtful).
///
/// A message never holds a value of the file, so that no secret can be in it; only a provider's
/// name may be offered as a correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line of the file, from 1; none when the fault has no place in it.
    pub line: Option<usize>,
    /// Where in the tree, as in `accounts[2].provider`; empty for the file itself.
    pub path: String,
    /// What is wrong, and what mends it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong with a file; never empty.
///
/// Printed one fault a line, each with the file's name in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// In the order of the file.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                write!(f, "{}: ", file.display())?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The faults and warnings met so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
}

impl Report {
    /// Notes something that makes the file unusable.
    pub(super) fn fault(
        &mut self,
        line: impl Into<Option<usize>>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.faults.push(Fault {
            line: line.into(),
            path: path.into(),
            message: message.into(),
        });
    }

    /// Notes something doubtful.
    pub(super) fn warn(
        &mut self,
        line: impl Into<Option<usize>>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.warnings.push(Fault {
            line: line.into(),
            path: path.into(),
            message: message.into(),
        });
    }

    /// Puts everything into the order of the file.
    pub(super) fn sort(&mut self) {
        self.faults.sort_by_key(|fault| fault.line);
        self.warnings.sort_by_key(|fault| fault.line);
    }
}
