//! How much a client may ask before its login: one count for the dialogues of all protocols.

use super::Limits;

/// The goodbye of a client that only sends commands.
pub(super) const TOO_MANY_COMMANDS: &str = "Too many commands before login, goodbye";
/// The goodbye of a client whose logins are refused.
pub(super) const TOO_MANY_REFUSALS: &str = "Too many refused logins, goodbye";

/// What is left of our patience with one client. Each question tells whether the dialogue may go on.
#[derive(Default)]
pub(super) struct Patience {
    commands: usize,
    bad_commands: usize,
    refused_logins: usize,
    had_long_line: bool,
}

impl Patience {
    /// One more command, whatever it is: each costs us as much as its sender.
    pub(super) fn with_command(&mut self, limits: &Limits) -> bool {
        self.commands += 1;
        self.commands <= limits.commands
    }

    /// One more that was not understood.
    pub(super) fn with_bad_command(&mut self, limits: &Limits) -> bool {
        self.bad_commands += 1;
        self.bad_commands <= limits.bad_commands
    }

    /// One more refused login: a few are a person's errors, more are guesses.
    pub(super) fn with_refusal(&mut self, limits: &Limits) -> bool {
        self.refused_logins += 1;
        self.refused_logins < limits.refused_logins
    }

    /// A line over the limit: one is answered, as servers do.
    pub(super) fn with_long_line(&mut self) -> bool {
        !std::mem::replace(&mut self.had_long_line, true)
    }
}
