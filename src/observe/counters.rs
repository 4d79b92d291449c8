//! Counters, with names and labels fit for Prometheus.
//!
//! Labels come from the configuration and from fixed words, never from a peer, so their number is
//! bounded; accounts are no label. Counting takes a read lock and an atomic addition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use super::event::{Event, Refusal, Sink};

/// One named counter with its labels' names; a value for each combination of labels seen.
struct Family {
    name: &'static str,
    labels: &'static [&'static str],
    values: RwLock<BTreeMap<Vec<String>, AtomicU64>>,
}

impl Family {
    fn new(name: &'static str, labels: &'static [&'static str]) -> Self {
        let mut values = BTreeMap::new();
        // One without labels is there from the start.
        if labels.is_empty() {
            values.insert(Vec::new(), AtomicU64::new(0));
        }
        Self {
            name,
            labels,
            values: RwLock::new(values),
        }
    }

    fn add(&self, labels: &[&str], count: u64) {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        {
            let values = self.values.read();
            if let Some(value) = values.get(&key) {
                value.fetch_add(count, Ordering::Relaxed);
                return;
            }
        }
        let mut values = self.values.write();
        values
            .entry(key)
            .or_default()
            .fetch_add(count, Ordering::Relaxed);
    }

    fn rows(&self) -> Vec<Value> {
        let values = self.values.read();
        let row = |(labels, value): (&Vec<String>, &AtomicU64)| {
            let named = self.labels.iter().zip(labels);
            let mut row: Map<String, Value> = named
                .map(|(name, label)| ((*name).to_owned(), label.clone().into()))
                .collect();
            row.insert("value".to_owned(), value.load(Ordering::Relaxed).into());
            Value::Object(row)
        };
        values.iter().map(row).collect()
    }
}

/// The counters of a process, fed by its events.
pub struct Counters {
    logins: Family,
    refusals: Family,
    token_requests: Family,
    sign_ins: Family,
    brute_force: Family,
    mail_trouble: Family,
    mail_accepted: Family,
    mail_delivered: Family,
    mail_deferred: Family,
    mail_failed: Family,
    bytes: Family,
    sessions_ended: Family,
    session_milliseconds: AtomicU64,
    audit_dropped: Arc<AtomicU64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            logins: Family::new(
                "mailsplice_logins_total",
                &["listener", "protocol", "result"],
            ),
            refusals: Family::new("mailsplice_refusals_total", &["reason"]),
            token_requests: Family::new(
                "mailsplice_token_requests_total",
                &["provider", "flow", "outcome"],
            ),
            sign_ins: Family::new("mailsplice_sign_ins_total", &["provider", "flow"]),
            brute_force: Family::new("mailsplice_brute_force_total", &["listener"]),
            mail_trouble: Family::new("mailsplice_mail_trouble_total", &[]),
            mail_accepted: Family::new("mailsplice_mail_accepted_total", &["listener"]),
            mail_delivered: Family::new("mailsplice_mail_delivered_total", &[]),
            mail_deferred: Family::new("mailsplice_mail_deferred_total", &["class"]),
            mail_failed: Family::new("mailsplice_mail_failed_total", &["class"]),
            bytes: Family::new("mailsplice_bytes_total", &["direction"]),
            sessions_ended: Family::new("mailsplice_session_ends_total", &["reason"]),
            session_milliseconds: AtomicU64::new(0),
            audit_dropped: Arc::default(),
        }
    }
}

impl Counters {
    /// Counts the audit events that were dropped; fed by the audit file.
    pub fn audit_dropped(&self) -> Arc<AtomicU64> {
        self.audit_dropped.clone()
    }

    /// All of them: by name, a list of values with their labels. `sessions_open` is known by whoever
    /// keeps the sessions.
    pub fn to_json(&self, sessions_open: usize) -> Value {
        let families = [
            &self.logins,
            &self.refusals,
            &self.token_requests,
            &self.sign_ins,
            &self.brute_force,
            &self.mail_trouble,
            &self.mail_accepted,
            &self.mail_delivered,
            &self.mail_deferred,
            &self.mail_failed,
            &self.bytes,
            &self.sessions_ended,
        ];
        let mut all: Map<String, Value> = families
            .iter()
            .map(|family| (family.name.to_owned(), family.rows().into()))
            .collect();
        let milliseconds = self.session_milliseconds.load(Ordering::Relaxed);
        let single = [
            ("mailsplice_sessions_open", json!(sessions_open)),
            (
                "mailsplice_session_seconds_total",
                json!(seconds(milliseconds)),
            ),
            (
                "mailsplice_audit_dropped_total",
                json!(self.audit_dropped.load(Ordering::Relaxed)),
            ),
        ];
        all.extend(single.map(|(name, value)| (name.to_owned(), json!([{ "value": value }]))));
        Value::Object(all)
    }
}

/// Exact up to 2^53 milliseconds, which no process lives to see.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

impl Sink for Counters {
    fn count(&self, one: &Refusal) {
        self.refusals.add(&[one.reason], 1);
        // Those turned away at the door have not tried to log in.
        if !matches!(one.reason, "network" | "crowded" | "tls" | "proxy_header") {
            let labels = [&one.client.listener, one.client.protocol, "refused"];
            self.logins.add(&labels, 1);
        }
    }

    fn take(&self, _: u64, event: &Event) {
        match event {
            Event::SignIn(one) => self.sign_ins.add(&[&one.provider, &one.flow], 1),
            Event::Refresh(one) => self
                .token_requests
                .add(&[&one.provider, one.flow, one.outcome], 1),
            Event::Login(one) => self
                .logins
                .add(&[&one.client.listener, one.client.protocol, "ok"], 1),
            // See `count`.
            Event::Refusal(_) => {}
            Event::SessionEnd(one) => {
                self.bytes.add(&["to_client"], one.to_client);
                self.bytes.add(&["to_upstream"], one.to_upstream);
                self.sessions_ended.add(&[one.reason], 1);
                self.session_milliseconds
                    .fetch_add(one.milliseconds(), Ordering::Relaxed);
            }
            Event::MailTrouble { .. } => self.mail_trouble.add(&[], 1),
            Event::BruteForce { listener, .. } => self.brute_force.add(&[listener], 1),
            Event::MailAccepted(one) => self.mail_accepted.add(&[&one.client.listener], 1),
            Event::MailDelivered { .. } => self.mail_delivered.add(&[], 1),
            Event::MailDeferred { class, .. } => self.mail_deferred.add(&[class.name()], 1),
            Event::MailFailed(one) => self.mail_failed.add(&[one.class.name()], 1),
            Event::MailDelayed(_)
            | Event::MailNotice(_)
            | Event::PasswordAdded(_)
            | Event::PasswordRemoved(_)
            | Event::NeedsAttention { .. }
            | Event::Recovered { .. }
            | Event::Revoked { .. }
            | Event::WillExpire { .. } => {}
        }
    }
}

/// Adds up what several processes counted.
pub fn sum(all: impl IntoIterator<Item = Value>) -> Value {
    let mut summed = Map::new();
    for counters in all {
        let Value::Object(counters) = counters else {
            continue;
        };
        for (name, rows) in counters {
            let Value::Array(rows) = rows else { continue };
            let known = summed.entry(name).or_insert_with(|| json!([]));
            for row in rows {
                add_row(known, row);
            }
        }
    }
    Value::Object(summed)
}

fn add_row(known: &mut Value, row: Value) {
    let Some(known) = known.as_array_mut() else {
        return;
    };
    let labels = |row: &Value| {
        let mut labels = row.clone();
        labels.as_object_mut().map(|labels| labels.remove("value"));
        labels
    };
    let wanted = labels(&row);
    let Some(same) = known.iter_mut().find(|one| labels(one) == wanted) else {
        known.push(row);
        return;
    };
    let (Some(one), Some(other)) = (same.get("value"), row.get("value")) else {
        return;
    };
    let total = match (one.as_u64(), other.as_u64()) {
        (Some(one), Some(other)) => json!(one.saturating_add(other)),
        _ => json!(one.as_f64().unwrap_or(0.0) + other.as_f64().unwrap_or(0.0)),
    };
    if let Some(same) = same.as_object_mut() {
        same.insert("value".to_owned(), total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::event::Client;

    fn refusal(reason: &'static str) -> Refusal {
        Refusal {
            client: Client {
                client: "192.0.2.1:4".parse().unwrap(),
                listener: "imap".to_owned(),
                protocol: "imap",
            },
            account: None,
            label: None,
            reason,
            code: None,
            text: String::new(),
            count: 1,
        }
    }

    #[test]
    fn events_are_counted_by_their_labels() {
        let counters = Counters::default();
        for reason in ["network", "wrong_password", "wrong_password"] {
            counters.count(&refusal(reason));
            // What is told says nothing new to the counters.
            counters.take(0, &Event::Refusal(refusal(reason)));
        }
        let all = counters.to_json(7);
        assert_eq!(
            all["mailsplice_refusals_total"],
            json!([
                { "reason": "network", "value": 1 },
                { "reason": "wrong_password", "value": 2 },
            ])
        );
        assert_eq!(
            all["mailsplice_logins_total"],
            json!([{ "listener": "imap", "protocol": "imap", "result": "refused", "value": 2 }])
        );
        assert_eq!(all["mailsplice_sessions_open"], json!([{ "value": 7 }]));
        let twice = sum([all.clone(), all, Value::Null]);
        assert_eq!(
            twice["mailsplice_refusals_total"][1],
            json!({ "reason": "wrong_password", "value": 4 })
        );
        assert_eq!(twice["mailsplice_sessions_open"][0]["value"], 14);
        assert_eq!(twice["mailsplice_session_seconds_total"][0]["value"], 0.0);
    }
}
