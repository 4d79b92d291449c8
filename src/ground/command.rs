//! Commands that a text tells its reader to run: whoever copies one into a shell runs what was meant.

/// What signs `user` in.
pub(crate) fn login(user: &str) -> String {
    format!("mailsplice login {}", shell(user))
}

/// What makes a device password of `user`.
pub(crate) fn password_add(user: &str) -> String {
    format!("mailsplice password add {}", shell(user))
}

/// What has a message of the queue sent again.
pub(crate) fn queue_retry(id: &str) -> String {
    format!("mailsplice queue retry {}", shell(id))
}

/// What shows a message of the queue.
pub(crate) fn queue_show(id: &str) -> String {
    format!("mailsplice queue show {}", shell(id))
}

/// `value` as one word for a POSIX shell.
pub(crate) fn shell(value: &str) -> String {
    let harmless =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_' | '-' | '+' | ':' | '/');
    let first = value.trim_start_matches([':', '/']);
    if first.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.chars().all(harmless) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_one_word_of_the_command() {
        assert_eq!(
            login("alice@contoso.com"),
            "mailsplice login alice@contoso.com"
        );
        assert_eq!(login("o'neil@x"), r"mailsplice login 'o'\''neil@x'");
        assert_eq!(password_add("$(id)"), "mailsplice password add '$(id)'");
        assert_eq!(shell("-x"), "'-x'");
        assert_eq!(shell("*@contoso.com"), "'*@contoso.com'");
        assert_eq!(shell(""), "''");
    }
}
