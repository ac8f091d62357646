"""Tables, figures and the HTML page, from plain data."""
