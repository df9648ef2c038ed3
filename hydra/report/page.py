def page(m):
    return ""
