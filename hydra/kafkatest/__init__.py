"""Where the parts are joined: RunTestKAFKA, the session that it runs in, and the local stack."""
