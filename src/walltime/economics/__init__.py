"""What a training costs: power and energy, money, failures."""
