"""A blinded reader study: rating sheets of reports for clinicians, and what their answers say."""
