"""Pages for people: templates and styles that all services with pages share, their headers, forms and cookies."""
