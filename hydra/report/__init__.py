"""Results as a page (HTML), rows (CSV), test cases (JUnit XML), text, and the JSON Schemas of their files."""
