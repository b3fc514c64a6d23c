"""Who may do what: certificates, tokens, roles, and the rules about them."""
