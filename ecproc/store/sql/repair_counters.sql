UPDATE stream SET through = min(through, version), wanted = min(wanted, version)
